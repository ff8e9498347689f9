# Gives a step a cluster: a devcluster of its own that goes when the step goes, or the user's own, asked for
# explicitly. Sets `kubeconfig`, the command `kubectl` for it, and `ingress` where shops can be reached. `cluster_down` may
# be called before the end, so that figures come last.

cluster_down() { :; }

# Makes `run`, a folder for what a step runs and writes; it goes when the step goes.
run_folder() {
    run=$(mktemp -d)
    export run
    trap 'cluster_down; rm -rf "$run"' EXIT
}

# cluster_up [simulated|real]
cluster_up() {
    local node=${1:-simulated}
    ingress=
    case "$CLUSTER" in
    devcluster)
        state=$(mktemp -d)/cluster
        kubectl="$devcluster --state $state kubectl"
        cluster_down() { remove_devcluster; }
        [ -n "${run:-}" ] || trap cluster_down EXIT
        say "starting a cluster with a $node node"
        "$devcluster" --state "$state" up --node "$node" --owner-pid $$ >&2
        kubeconfig="$state/kubeconfig"
        if [ "$node" = real ]; then
            ingress=$(sed -n 's/.*"ingress": *"\([^"]*\)".*/\1/p' "$state/cluster.json")
            load_images
        fi
        ;;
    current)
        command -v kubectl >/dev/null || fail "CLUSTER=current needs kubectl"
        context=$(kubectl config current-context) || fail "CLUSTER=current: the kubeconfig has no current context"
        server=$(kubectl config view --minify --output 'jsonpath={.clusters[0].cluster.server}')
        if [ "${CONFIRM:-}" != "$context" ]; then
            [ -t 0 ] || fail "CLUSTER=current: set CONFIRM=$context to say that namespaces may be made and deleted there ($server)"
            read -r -p "Namespaces called store-... will be made and deleted in context $context ($server). Type its name to go on: " answer
            [ "$answer" = "$context" ] || fail "CLUSTER=current: not confirmed, nothing was done"
        fi
        kubeconfig=$(mktemp)
        kubectl=kubectl
        cluster_down() { rm -f "$kubeconfig"; }
        [ -n "${run:-}" ] || trap cluster_down EXIT
        kubectl config view --minify --flatten >"$kubeconfig"
        ;;
    *) fail "CLUSTER=$CLUSTER: use devcluster or current" ;;
    esac
}

# Brings the images into the node.
load_images() {
    local images=() name
    for name in $(awk '!/^#/ { print $1 }' deploy/images/images); do
        images+=("$(deploy/images/build --print "$name")")
    done
    "$devcluster" --state "$state" load "${images[@]}" >&2
}

remove_devcluster() {
    [ -d "$state" ] || return 0
    if ! "$devcluster" --state "$state" down >&2; then
        say "the cluster in $state did not go down cleanly"
        return 1
    fi
    rmdir "$(dirname "$state")" 2>/dev/null || true
}

# Keeps what tells why a run failed, before the cluster goes, in the folder that it sets `traces` to.
keep_traces() {
    traces=$STOREKEEPER_CACHE/failed/$(date +%Y%m%dT%H%M%S)
    mkdir -p "$traces"
    cp -R "$state/logs" "$traces" || true
    [ ! -d "$state/node/pods" ] || cp -RL "$state/node/pods" "$traces" || true
    "$devcluster" --state "$state" kubectl get events --all-namespaces --sort-by=.lastTimestamp >"$traces/events" || true
    "$devcluster" --state "$state" kubectl get pods --all-namespaces >&2 || true
    say "logs and events of the failed run are in $traces"
}
