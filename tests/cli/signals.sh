#!/bin/bash
# Signals, pipes and closed streams: exit code, words, what is left, and that the line which goes on works.
# usage: tests/cli/signals.sh BUILD
. "$(dirname "$0")/expect.bash"
cd "$TMP" || exit 1
ids 20000 d.npy
tiny m --layers 3
EPOCHS=6
q=(quantize m --data d.npy "${SMALL[@]:0:${#SMALL[@]}-1}" --epochs $EPOCHS --save-every 4)
run "${q[@]}" -q -o whole
[ "$rc" = 0 ] || { fail "the undisturbed run" "$err"; finish; exit 1; }
# Until the program is at work: its log has one run more than N.
at_work() { # log, N
    local i
    for ((i = 0; i < 3000; i++)); do
        [ "$(grep -sc '"event":"run"' "$1")" -gt "$2" ] 2>/dev/null && return
        sleep 0.01
    done
    fail "nothing began" "$(cat .err)"
}
begin() {
    local before=0
    [ -e o.log ] && before=$(grep -c '"event":"run"' o.log)
    "$EQAT" "${q[@]}" -o o --log o.log "$@" >.out 2>.err & pid=$!
    at_work o.log "$before"
}
resumed() { # what: --resume ends with the right bytes
    run "${q[@]}" -q -o o --resume
    [ "$rc" = 0 ] || fail "$1, --resume" "exit $rc" "$err"
    same "$1, --resume" whole o
    rm -rf o o.*
}

# Every signal that asks for an end stops with saved state; the stops of one run add up to the same bytes.
for s in INT TERM HUP XCPU USR1; do
    begin -q $([ $s = INT ] || echo --resume)
    kill -$s $pid
    wait $pid
    rc=$?
    cases=$((cases + 1))
    [ $rc = 130 ] && grep -q '^eqat: stopped; to go on: ' .err || fail "SIG$s" "exit $rc" "$(cat .err)"
    # what is kept and what is done again, under -q too
    cases=$((cases + 1))
    grep -qE '^eqat: stopped on request( in block [0-9] (at step [0-9]* of [0-9]*, saved up to there|within the update .* are done again))?; [0-9] of 3 blocks are done and kept|^eqat: stopped on request in E2E-QP (at step [0-9]* of [0-9]*, saved up to there|within .* are done again)$' .err ||
        fail "SIG$s: what is kept" "$(cat .err)"
done
resumed "five signals"
# nohup stays in force; a closed terminal hangs up twice, a CPU limit speaks every second: neither is a
# second Ctrl-C.
cases=$((cases + 3))
(trap '' HUP; exec "$EQAT" "${q[@]}" -q -o o --log o.log) 2>.err & pid=$!
at_work o.log 0; kill -HUP $pid; wait $pid || fail "nohup" "exit $?" "$(cat .err)"
same "nohup" whole o; rm -rf o o.*
begin -q; kill -HUP $pid; kill -HUP $pid 2>/dev/null; wait $pid; rc=$?
[ $rc = 130 ] && grep -q '^eqat: stopped; to go on: ' .err || fail "SIGHUP twice" "exit $rc" "$(cat .err)"
resumed "SIGHUP twice"
begin -q; kill -STOP $pid; kill -INT $pid; sleep 0.1; kill -CONT $pid; kill -TERM $pid 2>/dev/null; wait $pid; rc=$?
[ $rc = 130 ] || fail "SIGINT, then SIGTERM" "exit $rc" "$(cat .err)"
resumed "SIGINT, then SIGTERM"

# The line that goes on, pasted into a shell.
pasted() { # what, args...
    local what=$1 line; shift
    cases=$((cases + 2))
    rm -f p.log
    "$EQAT" "$1" -q --log p.log "${@:2}" >.out 2>.err & pid=$!
    at_work p.log 0
    kill -INT $pid; wait $pid
    line=$(tail -n 1 .err)
    [[ $line == 'eqat: stopped; to go on: '* ]] || fail "$what: stopped" "$(cat .err)"
    bash -c "${line#*to go on: }" >.out 2>.err || fail "$what: pasted" "$line" "$(cat .err)"
}
short=("${q[@]:2}")
pasted "plain" quantize m "${short[@]}" -o o1; same "plain" whole o1
pasted "behind --" quantize "${short[@]}" -o o2 -- m; same "behind --" whole o2
pasted "a space" quantize m "${short[@]}" -o 'a b'; same "a space" whole 'a b'
pasted "quotes and a newline" quantize m "${short[@]}" -o $'a\n1b\'c"$(x)\\'; same "a newline" whole $'a\n1b\'c"$(x)\\'
mkdir ./-m && cp m/* ./-m/
pasted "a folder called -m" quantize "${short[@]}" -o o3 -- -m

# Within a batch of ppl, which takes some seconds here.
cases=$((cases + 1))
rm -f p.log
"$EQAT" ppl m --data d.npy --backend ref --seqlen 256 --limit 8 --batch-size 8 -q --log p.log >.out 2>.err & pid=$!
at_work p.log 0; sleep 0.2
kill -INT $pid; wait $pid; rc=$?
[ $rc = 130 ] && [ "$(tail -n 1 .err)" = 'eqat: stopped on request' ] || fail "ppl" "exit $rc" "$(cat .out .err)"

# Streams: a reader that goes away, a full one, closed ones. The job does not depend on them.
"$EQAT" "${q[@]}" -o o 2>&1 >/dev/null | head -n 1 >.out
cases=$((cases + 1)); [ "${PIPESTATUS[0]}" = 0 ] || fail "stderr | head -n 1"
same "stderr | head -n 1" whole o; rm -rf o
if [ -w /dev/full ]; then
    cases=$((cases + 2))
    "$EQAT" "${q[@]}" -o o 2>/dev/full >.out || fail "2>/dev/full" "exit $?"
    same "2>/dev/full" whole o; rm -rf o
    "$EQAT" "${q[@]}" -q -o o >/dev/full 2>.err && fail ">/dev/full: exit 0"
    same ">/dev/full" whole o; rm -rf o
fi
closed() { # what; the command ran with streams closed and wrote o
    cases=$((cases + 2))
    [ "$2" = 0 ] || fail "$1: exit $2"
    [ ! -e l ] || ! grep -qv '^{' l || fail "$1: progress in the log" "$(grep -v '^{' l | head -n 2)"
    same "$1" whole o
    rm -rf o l
}
"$EQAT" "${q[@]}" -o o 2>&- >.out; closed '2>&-' $?
"$EQAT" "${q[@]}" -v -o o --log l 2>&- >.out; closed '2>&- -v --log' $?
"$EQAT" "${q[@]}" -o o <&- 2>&- >.out; closed '<&- 2>&-' $?
"$EQAT" "${q[@]}" -o o --log l <&- >&- 2>&-; closed 'all three' $?
finish
