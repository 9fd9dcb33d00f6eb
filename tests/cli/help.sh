#!/bin/bash
# Every help text, byte by byte, against tests/cli/golden. UPDATE=1 writes the golden files anew.
# usage: tests/cli/help.sh BUILD
. "$(dirname "$0")/expect.bash"
golden=tests/cli/golden
check() { # file args...
    local file=$golden/$1; shift
    [ -z "${UPDATE:-}" ] || "$EQAT" "$@" >"$file"
    expect 0 "$(cat "$file")" "" "$@"
}
check help.txt help
check help.txt --help
check help.txt -h
commands=$(sed -n '/^usage:/,/^example:/s/^  \([a-z]*\) .*/\1/p' $golden/help.txt)
for c in $commands; do
    case $c in help | version) continue ;; esac
    check "$c.txt" help "$c"
    check "$c.txt" "$c" --help
    check "$c.txt" "$c" MODEL -h --no-such-option
done
# Nothing given at all: the same text on stderr, and it is a mistake.
expect 2 "" "$(cat $golden/help.txt)"
# A help text whose reader went away or whose disk is full is no success.
if [ -w /dev/full ]; then
    cases=$((cases + 1))
    "$EQAT" help >/dev/full 2>"$TMP/full"
    [ $? = 1 ] && [ "$(cat "$TMP/full")" = "eqat: the output could not be written" ] || fail "help to a full disk" "$(cat "$TMP/full")"
fi
finish
