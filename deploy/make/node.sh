# Which node a step's devcluster has. Sets `node`; a step without a choice of the user gets a real one where that can be.

choose_node() {
    local hindrance
    hindrance=$(deploy/make/setup hindrance)
    case "$CLUSTER/$NODE" in
    current/*) node=current ;;
    */simulated) node=simulated ;;
    */real | */)
        if [ -z "$hindrance" ]; then
            deploy/make/setup real-node
            node=real
        elif [ -n "$NODE" ]; then
            fail "NODE=real: $hindrance"
        else
            node=simulated
            say "the node is simulated, so no shop opens: $hindrance"
        fi
        ;;
    *) fail "NODE=$NODE: use real or simulated" ;;
    esac
}
