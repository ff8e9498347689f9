# Shared by build, check and deploy/image: where things are, how to say them, which images there are.

set -euo pipefail
# The modes of files that a build writes must not depend on the user's shell.
umask 022
images=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
export STOREKEEPER_CACHE=${STOREKEEPER_CACHE:-${XDG_CACHE_HOME:-$HOME/.cache}/storekeeper}
cache=$STOREKEEPER_CACHE/images
# The script that runs, which calls itself inside namespaces.
self=$(realpath "$0")

say() { printf '\033[1m==> %s\033[0m\n' "$*" >&2; }
fail() { printf 'images: %s\n' "$*" >&2; exit 1; }

# field NAME COLUMN: a column of the table of images.
field() {
    awk -v name="$1" -v column="$2" '$1 == name { print $column; found = 1 } END { exit !found }' "$images/images" ||
        fail "$1 is none of the images in deploy/images/images"
}

# Images that exist in this checkout, the slowest first.
all_images() {
    local name
    for name in $(awk '!/^#/ { print $1 }' "$images/images"); do
        [ ! -f "$images/$name/Dockerfile" ] || echo "$name"
    done
}

# sources FOLDER: the files of an image, sorted; what npm and builds leave in a checkout is none of them.
sources() {
    (cd "$1" && find . \( -name node_modules -o -name .next -o -name .medusa \) -prune -o -type f -print | LC_ALL=C sort)
}

# content_hash NAME: covers all that goes in: the image's files and which of them are programs, the builder, its base.
content_hash() {
    local file folder=$images/$1
    {
        uname -m
        cat "$images/builder" "$images/base" "$images/common.sh"
        field "$1" 2
        sources "$folder" | while read -r file; do
            printf '%s %s ' "$file" "$([ -x "$folder/$file" ] && echo x)"
            sha256sum <"$folder/$file"
        done
    } | sha256sum | cut -c1-16
}

tar_of() { echo "$cache/$1-$(content_hash "$1").oci.tar"; }
