# Gives a step a cluster: a devcluster of its own that goes when the step goes, or the user's own, asked for
# explicitly. Sets `kubeconfig`. `cluster_down` may be called before the end, so that figures come last.

cluster_down() { :; }

cluster_up() {
    case "$CLUSTER" in
    devcluster)
        state=$(mktemp -d)/cluster
        cluster_down() { remove_devcluster; }
        trap cluster_down EXIT
        say "starting a cluster"
        "$devcluster" --state "$state" up --owner-pid $$ >&2
        kubeconfig="$state/kubeconfig"
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

remove_devcluster() {
    [ -d "$state" ] || return 0
    "$devcluster" --state "$state" down >/dev/null 2>&1 || say "the cluster in $state did not go down cleanly"
    rmdir "$(dirname "$state")" 2>/dev/null || true
}
