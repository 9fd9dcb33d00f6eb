#!/bin/bash
# Conversations: a line is a message, templates by name or of the model, Ctrl-C ends no program.
# usage: tests/cli/chat.sh BUILD
. "$(dirname "$0")/expect.bash"
cd "$TMP" || exit 1
tiny m
say() { # messages to stdin, then options
    local messages=$1; shift
    cases=$((cases + 1))
    out=$(printf '%b' "$messages" | "$EQAT" chat "$@" 2>err)
    rc=$? err=$(<err)
    [ "$rc" = 0 ] || fail "chat $*" "exit $rc" "$err"
}

say 'ab\n12\n' m --template chatml -n 4
[ "$(wc -l <<<"$out")" -ge 2 ] || fail "two messages, two answers" "$out"
[[ $err == *'template chatml'*'tokens/s'*'tokens/s'* ]] || fail "lines on stderr" "$err"
first=$out
say 'ab\r\n\n12' m --template chatml -n 4 -q
[ "$out" = "$first" ] && [ -z "$err" ] || fail "empty lines, another end of lines, quiet" "$out" "$err"
say 'ab\n/new\nab\n' m --template chatml -n 4 -q --exact
one=$out
say 'ab\n' m --template chatml -n 4 -q --exact
[ "$one" = "$out"$'\n'"$out" ] || fail "/new begins anew" "$one" "$out"
say 'ab\n' m --template zephyr -n 4 -q --exact --system 'x'
say '' m --template chatml
[ -z "$out" ] || fail "no message, no answer" "$out"

# at the prompt Ctrl-C leaves the line, not the program
cases=$((cases + 1))
mkfifo line
"$EQAT" chat m --template chatml -n 4 -q <line >out 2>err &
pid=$!
exec 7>line
for i in 1 2; do sleep 0.2; kill -INT $pid; done
sleep 0.2
printf 'ab\n' >&7
exec 7>&-
wait $pid
rc=$?
[ $rc = 0 ] && [ -s out ] || fail "Ctrl-C at the prompt" "exit $rc" "$(<err)"

expect_match 1 'eqat: no chat template is called "nothing": expected chatml, .*' chat m --template nothing
expect_match 1 'eqat: m: no chat template: expected .*' chat m
expect_match 1 'eqat: conversation: expected at most 127 tokens, found [0-9]+: .*' chat m --template chatml -q <<<"$(seq 300 | tr '\n' ' ')"
finish
