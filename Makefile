# The project's commands. `make help` lists them; each ends with one line of figures and a right exit code.
# The steps themselves are in deploy/make/, one script a step.

SHELL := /bin/bash
.DEFAULT_GOAL := help
.PHONY: help setup build image demo test e2e bench chaos parity lint clean

# Everything that is built lies outside the checkout, by the content it is built from, so that a second clone
# finds it.
export STOREKEEPER_CACHE ?= $(or $(XDG_CACHE_HOME),$(HOME)/.cache)/storekeeper
export CARGO_TARGET_DIR := $(STOREKEEPER_CACHE)/target-$(shell cat Cargo.lock rust-toolchain.toml | sha256sum | cut -c1-16)
# none here: what a user's shell says must not change what is built
export GOTOOLCHAIN := local
export GOWORK := off

# devcluster: a cluster of its own (default); current: the cluster of the current kubeconfig context
export CLUSTER ?= devcluster
# of a devcluster. real: a node that runs containers (default where it can be: Linux, root); simulated: nothing runs
export NODE ?=
# 1: the demo's repository is on a Gitea, with pull requests
export FORGE ?=
# 1: make e2e is content to say why where no real node can be
export WHERE_POSSIBLE ?=
# a folder: make e2e leaves the screenshots there
export SCREENSHOTS ?=
# of make bench: numbers of stores; the file for the figures; how long a fleet rests; some parts instead of all
export SIZES ?= 10 100 1000
export OUT ?=
export IDLE_MINUTES ?= 10
export PARTS ?=
# of make parity: a folder with charts, instead of the project's, and of make bench, to time them; what `helm template` takes, API versions with commas;
# how many seeds for made-up values
export CHARTS ?=
export KUBE_VERSION ?=
export API_VERSIONS ?=
export FUZZ ?= 5
# a word: run only the test files whose names contain it
T ?=
# how often make chaos kills the daemon at least, and what decides its commits, faults and kill points
export KILLS ?= 100
export SEED ?= 1
# 1: the demo adds, changes and removes a store itself, checks each effect, and ends
CHECK ?=

help: ## list the commands
	@grep -E '^[a-z0-9]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 10
	@echo
	@echo 'make demo CHECK=1       the demo checks itself and ends'
	@echo 'make demo FORGE=1       pull requests on a real Gitea, in a browser'
	@echo 'make demo NODE=simulated  the quick look: no container runs; NODE=real insists on a real node'
	@echo 'make e2e SCREENSHOTS=DIR  leaves its screenshots there'
	@echo 'make chaos KILLS=20 SEED=7  fewer kills, another run; the same seed repeats commits, faults and kill points'
	@echo 'make test T=word        only the test files whose names contain the word'
	@echo 'make bench SIZES="10 100" OUT=FILE  some sizes, and where the figures go; IDLE_MINUTES=1 PARTS="edit drift"'
	@echo 'make bench SIZES= PARTS="render charts" CHARTS=DIR  how fast any charts render, without a cluster'
	@echo 'make parity CHARTS=DIR KUBE_VERSION=1.34.0 API_VERSIONS=a/v1,b/v1  any charts, for another cluster'
	@echo 'make ... CLUSTER=current  use the cluster of the current kubeconfig context (asks first)'

setup: ## check for, and where possible install, what the builds need
	@deploy/make/setup

build: setup ## build everything that tests need, with progress
	@deploy/make/setup test
	@deploy/make/setup forge
	@deploy/make/build

image: setup ## build the daemon's own image without Docker, and check it
	@deploy/image --check

demo: setup ## a cluster, a repository and the daemon: see stores come and go
	@deploy/make/demo $(CHECK)

test: build ## all tests, those on the real API server included
	@deploy/make/test $(T)

e2e: setup ## everything together: real stores, from a push over a purchase and a restored backup to removal
	@deploy/make/e2e

bench: setup ## what it costs: installs against the floor, rest, edits, drift, restart; a table and a JSON file
	@deploy/make/bench

chaos: setup ## kill the daemon 100 times amid commits, git's and the API server's faults: is the cluster equal to git?
	@deploy/make/chaos

parity: setup ## render charts by ours and by real Helm and compare: the project's, or those of CHARTS=FOLDER
	@deploy/make/parity

lint: setup ## format, lints, licences
	@deploy/make/lint

clean: ## remove what Cargo built, and what runs left here; the cache of tools and images stays
	@deploy/make/clean
