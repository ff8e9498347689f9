# Cargo's folder: where it is, and whose. Sourced.

export CARGO_TARGET_DIR=${CARGO_TARGET_DIR:-$STOREKEEPER_CACHE/target-$(cat Cargo.lock rust-toolchain.toml | sha256sum | cut -c1-16)}

# Cargo goes by times alone: of two checkouts that share its folder, the older one would take the other's build for its own.
claim_target() {
    [ "$(cat "$CARGO_TARGET_DIR/checkout" 2>/dev/null)" != "$PWD" ] || return 0
    rm -rf "$CARGO_TARGET_DIR"/*/.fingerprint/storekeeper-*
    mkdir -p "$CARGO_TARGET_DIR"
    echo "$PWD" >"$CARGO_TARGET_DIR/checkout"
}
