#!/bin/sh
# Restores a dump: into a fresh database beside the running one, then swaps the two names in one transaction. The replaced
# database stays under another name. Does nothing when this request was restored before, so it may run any number of times.
set -eu
# shellcheck source=dump.sh
. "$(dirname "$0")/dump.sh"

fresh="${RESTORE_DATABASE}_restore_$RESTORE_ID"
before="${RESTORE_DATABASE}_before_$RESTORE_ID"

# Names and texts reach SQL as psql variables, which quote them.
sql() {
    psql --no-psqlrc --quiet --tuples-only --no-align --set ON_ERROR_STOP=1 --dbname "${in:-postgres}" \
        --set database="$RESTORE_DATABASE" --set fresh="$fresh" --set before="$before" --set owner="$RESTORE_OWNER" "$@"
}

# The requests that were restored, in the comment of the database. It takes part in the swap, so it is never wrong.
restored_requests() {
    sql <<'SQL'
SELECT coalesce(shobj_description(oid, 'pg_database'), '') FROM pg_database WHERE datname = :'database';
SQL
}

stop_if_done() {
    history=$(restored_requests)
    case " $history " in
    *" $RESTORE_ID "*)
        say "$RESTORE_FILE was restored before: nothing to do. To restore it once more, set another restore.request"
        exit 0
        ;;
    esac
}

# One restore at a time, also while the pods of an old and a new Job overlap. The lock is a session's, which ends when this
# script does, however it does.
hold_lock() {
    mkfifo "$scratch/lock"
    sql <"$scratch/lock" >"$scratch/locked" 2>&1 &
    locker=$!
    exec 3>"$scratch/lock"
    echo "SELECT 'held' FROM pg_advisory_lock(hashtext('storekeeper restore'));" >&3
    until grep -q '^held' "$scratch/locked"; do
        kill -0 "$locker" 2>/dev/null || fail "no lock: $(cat "$scratch/locked")"
        sleep 1
    done
}

seen() { stat -c '%s %Y' "$file" 2>/dev/null || :; }

# Waits until the file is there and has stopped growing.
await_file() {
    seconds=0
    while :; do
        size_and_time=$(seen)
        if [ -n "$size_and_time" ]; then
            sleep "${SETTLE_S:-5}"
            [ "$size_and_time" != "$(seen)" ] || return 0
            continue
        fi
        if [ $((seconds % 60)) = 0 ]; then
            say "waiting for $file. It comes into this volume, for example by:"
            say "  kubectl --namespace $RESTORE_NAMESPACE exec --stdin $(uname -n) --container restore --" \
                "sh -c 'cat >$BACKUP_FOLDER/.incoming && mv $BACKUP_FOLDER/.incoming $file' <$RESTORE_FILE"
            say "the volume holds: $(find "$BACKUP_FOLDER" -maxdepth 1 -type f -name '*.dump' -exec basename {} \; |
                sort | tr '\n' ' ')"
        fi
        sleep 2
        seconds=$((seconds + 2))
    done
}

find_file() {
    case $BACKUP_DESTINATION in
    volume)
        file="$BACKUP_FOLDER/$RESTORE_FILE"
        while :; do
            await_file
            if verify "$file"; then return; fi
            # Somebody may be copying, slowly.
            [ "$size_and_time" != "$(seen)" ] || break
        done
        fail "$RESTORE_FILE is not a whole dump: nothing was changed. Put a good one in its place (the Job tries again)," \
            "or name another in restore.file"
        ;;
    s3)
        use_bucket
        case $RESTORE_FILE in
        */*) source="$bucket$RESTORE_FILE" ;;
        *) source="$bucket$STORE_ID/$RESTORE_FILE" ;;
        esac
        file="$WORK_FOLDER/restore.dump"
        say "fetching ${source#store:}"
        bucket_copy "$source" "$file" || fail "${source#store:} can't be fetched: nothing was changed"
        # A bucket has no folders, so what is missing looks to rclone like an empty one.
        [ -f "$file" ] || fail "${source#store:} is not there: nothing was changed"
        verify "$file" || fail "${source#store:} is not a whole dump: nothing was changed"
        ;;
    *) fail "BACKUP_DESTINATION is $BACKUP_DESTINATION where volume or s3 is expected" ;;
    esac
}

drop_fresh() {
    sql <<'SQL'
SET client_min_messages = warning;
DROP DATABASE IF EXISTS :"fresh" WITH (FORCE);
SQL
}

# The dump's statements run as the owner, whose password this is: whatever they are, they can do what a store can.
fill_fresh() {
    sql <<'SQL'
CREATE DATABASE :"fresh" OWNER :"owner";
REVOKE ALL ON DATABASE :"fresh" FROM PUBLIC;
SQL
    run env PGUSER="$RESTORE_OWNER" PGPASSWORD="$RESTORE_OWNER_PASSWORD" \
        pg_restore --dbname="$fresh" --no-password --no-owner --no-privileges --exit-on-error "$file" ||
        fail "pg_restore failed with exit code $?: the running database is untouched"
    in=$fresh sql --command 'ANALYZE'
    sql --set history="${history:-restored:} $RESTORE_ID" <<'SQL'
COMMENT ON DATABASE :"fresh" IS :'history';
SQL
}

# A database can be renamed when nobody is in it. From the first RENAME on newcomers wait for the transaction's end, so it
# is enough to put out those who are in while it waits (5 s) for them to go.
swap() {
    replaced=$(sql --command "SELECT oid FROM pg_database WHERE datname = '$RESTORE_DATABASE'")
    sql <<'SQL' &
BEGIN;
ALTER DATABASE :"database" RENAME TO :"before";
ALTER DATABASE :"fresh" RENAME TO :"database";
COMMIT;
SQL
    child=$!
    while kill -0 "$child" 2>/dev/null; do
        sql --set replaced="$replaced" >/dev/null <<'SQL' || :
SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datid = :replaced AND backend_type = 'client backend';
SQL
        sleep 0.2
    done
    code=0
    wait "$child" || code=$?
    child=
    return "$code"
}

clean_up() {
    code=$?
    trap - EXIT
    [ -z "${filling:-}" ] || drop_fresh || :
    # Ends the session that holds the lock.
    exec 3>&-
    rm -rf "$scratch"
    [ "$BACKUP_DESTINATION" != s3 ] || rm -f "$WORK_FOLDER/restore.dump"
    exit "$code"
}
trap clean_up EXIT

await_database
stop_if_done
find_file
say "$RESTORE_FILE is whole: $tables tables"
hold_lock
stop_if_done
taken=$(sql --command "SELECT 1 FROM pg_database WHERE datname = '$before'")
[ -z "$taken" ] || fail "the database $before exists already: rename or drop it, or set another restore.request"
# What an attempt that was killed left behind.
drop_fresh
filling=yes
say "restoring into $fresh"
fill_fresh
say "swapping $fresh and $RESTORE_DATABASE"
swap || swap || swap || fail "the databases could not be swapped: the running one is untouched"
filling=
say "restored $RESTORE_FILE. The replaced database stays as $before until somebody drops it"
