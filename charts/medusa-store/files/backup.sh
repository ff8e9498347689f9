#!/bin/sh
# Dumps the database, verifies the dump, puts it in its place and removes the oldest ones. What has a final name is whole;
# a dump under way is `.<name>.partial`. Fails without touching older dumps.
set -eu
# shellcheck source=dump.sh
. "$(dirname "$0")/dump.sh"

name="$STORE_ID-$(date -u +%Y%m%dT%H%M%SZ)"
# The last dump of a store that is removed: a new store of the same name must not rotate it away.
last=
[ "${BACKUP_JOB:-}" != final-backup ] || last=-final
name="$name$last.dump"
# Only names of this shape are ours to remove. The id has letters, digits and dashes only.
own="^$STORE_ID-[0-9]{8}T[0-9]{6}Z\\.dump\$"

case $BACKUP_DESTINATION in
volume) folder=$BACKUP_FOLDER ;;
s3)
    folder=$WORK_FOLDER
    use_bucket
    target="$bucket$STORE_ID"
    ;;
*) fail "BACKUP_DESTINATION is $BACKUP_DESTINATION where volume or s3 is expected" ;;
esac
partial="$folder/.$name.partial"
trap 'rm -rf "$partial" "$scratch"' EXIT

# A container that was killed leaves its partial file. One that is older than any backup may run is nobody's.
find "$folder" -maxdepth 1 -type f -name ".$STORE_ID-*.dump.partial" -mmin "+$((BACKUP_TIMEOUT_S / 60 + 1))" \
    -exec rm -f {} +

await_database
say "dumping the database $PGDATABASE at $PGHOST to $name"
run pg_dump --format=custom --no-password --lock-wait-timeout=300s --file="$partial" ||
    fail "pg_dump failed with exit code $?: no backup was made, the older ones stay"
verify "$partial" || fail "the dump is not whole: it was thrown away, the older ones stay"
size=$(stat -c %s "$partial")

if [ "$BACKUP_DESTINATION" = volume ]; then
    [ ! -e "$folder/$name" ] || fail "$name exists already: another backup runs at the same time"
    sync "$partial"
    mv "$partial" "$folder/$name"
    sync "$folder"
else
    # An object appears under its name when all of it has arrived.
    bucket_copy "$partial" "$target/$name" || fail "the upload failed: no backup was made, the older ones stay"
    there=$(rclone lsf --format s --files-only --include "$name" "$target")
    [ "$there" = "$size" ] || fail "$name has $size bytes and ${there:-no} bytes arrived: no backup was made"
fi
say "backup $name is complete: $tables tables, $size bytes"

# Whoever removes a store wants none of its dumps gone.
[ -z "$last" ] || exit 0

names() {
    if [ "$BACKUP_DESTINATION" = volume ]; then
        find "$folder" -maxdepth 1 -type f -name "$STORE_ID-*.dump" -exec basename {} \;
    else
        rclone lsf --files-only --max-depth 1 "$target"
    fi
}

# The one just made stays even if the clock went backwards and others have later names.
names >"$scratch/names" || fail "the backup is complete, but the older ones can't be listed, so none was removed"
grep -E "$own" "$scratch/names" | grep -vxF "$name" | sort -r | tail -n "+$BACKUP_KEEP" >"$scratch/old" || :
# shellcheck disable=SC2015 # `say` does not fail
while read -r old; do
    if [ "$BACKUP_DESTINATION" = volume ]; then
        rm "$folder/$old" && say "removed $old" || say "warning: $old can't be removed" >&2
    else
        rclone deletefile --quiet "$target/$old" && say "removed $old" || say "warning: $old can't be removed" >&2
    fi
done <"$scratch/old"
