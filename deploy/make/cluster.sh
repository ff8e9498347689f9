# Gives a step a cluster: a devcluster of its own that goes when the step goes, or the user's own, asked for
# explicitly. Sets `kubeconfig`, and `ingress` where shops can be reached. `cluster_down` may be called before the end, so
# that figures come last.

cluster_down() { :; }

# cluster_up [simulated|real]
cluster_up() {
    local node=${1:-simulated}
    ingress=
    case "$CLUSTER" in
    devcluster)
        state=$(mktemp -d)/cluster
        cluster_down() { remove_devcluster; }
        trap cluster_down EXIT
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
        cluster_down() { rm -f "$kubeconfig"; }
        trap cluster_down EXIT
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
    "$devcluster" --state "$state" down >/dev/null 2>&1 || say "the cluster in $state did not go down cleanly"
    rmdir "$(dirname "$state")" 2>/dev/null || true
}
