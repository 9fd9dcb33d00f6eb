#!/bin/bash
# Small mistakes in the numerics, one at a time, and the fast test that has to see each. A copy of the
# committed tree is changed, built and tested; the tree itself is left alone. ../shared is not beside
# the copy, so only what a plain clone has can kill a mutation.
# usage: tools/mutations.sh [NAME-PART ...]     (nothing: all)
# WHOLE=1: the whole suite judges, not the named tests. APPLY=1: only says where each would be made in
# the tree as it is now.
set -u
cd "$(dirname "$0")/.." || exit 1
only=("$@") killed=0 survived=() unfit=()
W=$(mktemp -d) || exit 1
trap 'rm -rf "$W"' EXIT
[ "${APPLY-}" ] || { mkdir "$W/plain" && git archive HEAD | tar -x -C "$W/plain" && cd "$W/plain"; } || exit 1
programs() { for t in "$@"; do [[ $t = cli/* ]] && echo tools || echo "build/tests/$t"; done; }
made() { make -j"$(nproc)" $(programs "$@") >"$W/make.log" 2>&1; }
judge() { # TEST...: all pass
    local t
    for t in "$@"; do
        case $t in
        cli/*) timeout 300 bash "tests/$t.sh" build ;;
        *) timeout 120 "build/tests/$t" ;;
        esac >"$W/test.log" 2>&1 </dev/null || { by=$t; return 1; }
    done
}
# The files below $1 that have the text $OLD, once for every time they have it.
places() { find "$1" -type f -name '*.[ch]' -exec perl -0ne 'print "$ARGV\n" x (() = /\Q$ENV{OLD}\E/g)' {} +; }
# mutation NAME PLACE OLD NEW TEST...: OLD, a piece of text that a file or folder has once, becomes NEW
mutation() {
    local name=$1 where=$2 part wanted=1 file by='' why=''
    export OLD=$3 NEW=$4
    shift 4
    if [ ${#only[@]} -gt 0 ]; then
        wanted=
        for part in "${only[@]}"; do [[ $name == *"$part"* ]] && wanted=1; done
    fi
    [ "$wanted" ] || return 0
    printf '%-34s ' "$name"
    file=$(places "$where")
    if [ ! -f "$file" ]; then
        unfit+=("$name"); echo "DOES NOT APPLY: $where: $(wc -w <<<"$file") times, not once: $OLD"; return
    fi
    if [ "${APPLY-}" ]; then killed=$((killed + 1)); echo "applies to $file"; return; fi
    cp "$file" "$W/original"
    perl -0pe 's/\Q$ENV{OLD}\E/$ENV{NEW}/' "$W/original" >"$file"
    if [ "${WHOLE-}" ]; then
        make -j"$(nproc)" test >"$W/test.log" 2>&1 || by="the suite: $(grep FAILED "$W/test.log" | sed 's/  .*//' | tr '\n' ' ')"
    elif ! made "$@"; then
        why="DOES NOT BUILD: $(grep -m1 error "$W/make.log")"
    else judge "$@"; fi
    if [ "$why" ]; then unfit+=("$name"); echo "$why"
    elif [ "$by" ]; then killed=$((killed + 1)); echo "killed by $by"
    else survived+=("$name"); echo "SURVIVED $*"; fi
    cat "$W/original" >"$file"
}

# shellcheck source=tools/mutations.list
. tools/mutations.list

echo "$killed killed, ${#survived[@]} survived, ${#unfit[@]} do not fit"
[ ${#survived[@]} = 0 ] && [ ${#unfit[@]} = 0 ] && [ $killed -gt 0 ]
