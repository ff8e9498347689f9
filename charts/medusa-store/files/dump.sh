#!/bin/sh
# What backup.sh and restore.sh share. POSIX sh; needs the client of PostgreSQL, and rclone for buckets.

say() { printf '%s %s\n' "$(date -u +%Y-%m-%dT%H:%M:%SZ)" "$*"; }

fail() {
    say "error: $*" >&2
    exit 1
}

# Runs a long command in the background and waits for it: a shell hears SIGTERM only between its children. Use it as
# `run command || ...`; the command's exit code is in $?.
child=
run() {
    "$@" &
    child=$!
    code=0
    wait "$child" || code=$?
    child=
    return "$code"
}

stop() {
    trap - TERM INT
    say "stopped by a signal" >&2
    [ -z "$child" ] || kill "$child" 2>/dev/null || :
    exit 143
}
trap stop TERM INT

await_database() {
    seconds=0
    until pg_isready --quiet --timeout=3; do
        [ "$seconds" -lt "${DATABASE_WAIT_S:-120}" ] ||
            fail "PostgreSQL at $PGHOST:$PGPORT did not answer within $seconds s: is its pod ready?"
        [ $((seconds % 20)) != 0 ] || say "waiting for PostgreSQL at $PGHOST:$PGPORT"
        sleep 2
        seconds=$((seconds + 2))
    done
}

# Is this file a whole dump? Its table of contents must name tables with data, and all its data must decompress: the list
# alone lies at the file's beginning and says nothing about the rest.
verify() {
    pg_restore --list "$1" >"$scratch/contents" || return 1
    # shellcheck disable=SC2034 # for the messages of both scripts
    tables=$(grep -c '^[0-9]*; [0-9]* [0-9]* TABLE DATA ' "$scratch/contents") || {
        say "$1 holds no table with data" >&2
        return 1
    }
    run pg_restore --file=/dev/null "$1" || return 1
}

# Makes the bucket known to rclone as `store:`; only by the environment, so that no file holds the credentials.
use_bucket() {
    export RCLONE_CONFIG=/dev/null
    export RCLONE_CONFIG_STORE_TYPE=s3
    export RCLONE_CONFIG_STORE_ENV_AUTH=false
    export RCLONE_CONFIG_STORE_ACCESS_KEY_ID="$S3_ACCESS_KEY_ID"
    export RCLONE_CONFIG_STORE_SECRET_ACCESS_KEY="$S3_SECRET_ACCESS_KEY"
    export RCLONE_CONFIG_STORE_REGION="$S3_REGION"
    export RCLONE_CONFIG_STORE_FORCE_PATH_STYLE="$S3_FORCE_PATH_STYLE"
    # The bucket exists; the credentials need no right to create one.
    export RCLONE_CONFIG_STORE_NO_CHECK_BUCKET=true
    if [ -n "${S3_ENDPOINT:-}" ]; then
        export RCLONE_CONFIG_STORE_PROVIDER=Other RCLONE_CONFIG_STORE_ENDPOINT="$S3_ENDPOINT"
    else
        export RCLONE_CONFIG_STORE_PROVIDER=AWS
    fi
    # shellcheck disable=SC2034 # for both scripts
    bucket="store:$S3_BUCKET/$S3_PREFIX"
}

# Few retries: the Job has its own. Small buffers: the container's memory is small.
bucket_copy() {
    run rclone copyto --retries 2 --low-level-retries 3 --contimeout 15s --timeout 120s \
        --s3-upload-concurrency 2 --quiet "$1" "$2"
}

scratch=$(mktemp -d)
