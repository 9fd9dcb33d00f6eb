#!/bin/bash
# session-time: a line of four times for every line of numbers, whatever else is one line and exit 1.
# usage: tests/cli/session-time.sh BUILD
. "$(dirname "$0")/expect.bash"
cd "$TMP" || exit 1
TIME=${MAKE_MODEL%make-model}session-time
"$MAKE_MODEL" m --hidden 64 --inner 96 --layers 1 --heads 4 --kv-heads 2 --vocab 300 --context 64 >/dev/null
times() { # CODE REGEX INPUT ARGS...
    local code=$1 regex=$2 input=$3; shift 3
    cases=$((cases + 1))
    printf "$input" | "$TIME" "$@" >.out 2>.err
    [ $? = "$code" ] && [[ $(cat .out .err) =~ $regex ]] && return
    fail "session-time $* <<< $input" "$(cat .out .err)"
}
n='[0-9]+\.[0-9]{6}'
line="$n $n $n $n"
times 0 "^$line"$'\n'"$line\$" '9 3\n1 0\n' m 16 1
times 0 '^$' '' m 16
times 1 '^session-time: tokens: expected 1 to 16 more' '17 1\n' m 16 1
times 1 '^session-time: expected a prompt of 1 token or more, found 0 1$' '0 1\n' m 16 1
times 1 'context: expected 1 to 64 tokens, found 65$' '1 1\n' m 65 1
times 1 '^session-time: none/config.json: cannot open' '1 1\n' none 16
times 2 '^usage: session-time' '' m
finish
