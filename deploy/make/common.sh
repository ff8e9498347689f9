# Shared by the steps: where things are, how to say them.

set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/../.."

: "${STOREKEEPER_CACHE:?run this through make}"
devcluster="$STOREKEEPER_CACHE/bin/devcluster-$(cat deploy/devcluster/*.go deploy/devcluster/manifests/* deploy/devcluster/go.mod | sha256sum | cut -c1-16)-$(pwd | sha256sum | cut -c1-8)"
binary="$CARGO_TARGET_DIR/debug/storekeeper"

say() { printf '\033[1m==> %s\033[0m\n' "$*" >&2; }
fail() { printf 'make: %s\n' "$*" >&2; exit 1; }
seconds_since() { echo $(($(date +%s) - $1)); }
