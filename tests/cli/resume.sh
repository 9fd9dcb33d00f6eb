#!/bin/bash
# Kill -9 at random moments, then --resume: the finished folder is byte for byte that of a run that
# nobody disturbed. Also Ctrl-C, and work folders of another run.
# usage: tests/cli/resume.sh BUILD [KILLS=5] [SEED]
KILLS=${2:-5} RANDOM=${3:-$$}
. "$(dirname "$0")/expect.bash"
cd "$TMP" || exit 1
ids 20000 d.npy
tiny m
args=(quantize m --data d.npy "${SMALL[@]}" --e2e-train-size 64 --train-size 64)

start=${EPOCHREALTIME/[.,]/}
run "${args[@]}" -o whole
[ "$rc" = 0 ] || { fail "the undisturbed run" "$err"; finish; exit 1; }
took=$((${EPOCHREALTIME/[.,]/} - start))

# Starts the run (from where it is), kills it after a random part of its time. True: it was killed.
kill_once() {
    local us=$(((RANDOM * 32768 + RANDOM) % (took * 11 / 10)))
    "$EQAT" "${args[@]}" -o "$1" "${@:2}" >/dev/null 2>"$TMP/.err" &
    local pid=$!
    sleep "$((us / 1000000)).$(printf %06d $((us % 1000000)))"
    kill -9 $pid 2>/dev/null
    wait $pid 2>/dev/null
    [ $? = 137 ]
}
killed=0 rounds=0
while [ $killed -lt "$KILLS" ] && [ $rounds -lt $((KILLS * 4 + 20)) ]; do
    rounds=$((rounds + 1))
    dir=k$rounds resume=()
    # One round in three is killed again while it resumes.
    for again in 1 $((RANDOM % 3)); do
        [ "$again" = 1 ] || continue
        kill_once $dir "${resume[@]}" || { took=$((took * 9 / 10)); break; }
        killed=$((killed + 1)) resume=(--resume)
    done
    run "${args[@]}" -o $dir --resume
    [ "$rc" = 0 ] || fail "resuming kill $killed" "exit $rc" "$err"
    same "after kill $killed" whole $dir
    cases=$((cases + 1))
    left=$(ls -Ad $dir.* 2>/dev/null)
    [ -z "$left" ] || fail "left behind after kill $killed" "$left"
    rm -rf $dir $dir.*
done
[ $killed -ge "$KILLS" ] || fail "only $killed kills of $KILLS hit a running program"

# Ctrl-C: the state is saved, the line that goes on is printed, and it does.
cases=$((cases + 1))
long=(quantize m --data d.npy "${SMALL[@]}" --e2e-train-size 64 --train-size 64 --epochs 60)
"$EQAT" "${long[@]}" -o 'it stops' >/dev/null 2>"$TMP/.err" &
pid=$!
sleep 0.7
kill -INT $pid
wait $pid
rc=$? err=$(tail -n 1 "$TMP/.err")
want="eqat: stopped; to go on: $EQAT ${long[*]} -o 'it stops' --resume"
[ $rc = 130 ] && [ "$err" = "$want" ] || fail "Ctrl-C" "exit $rc" "$err" "not: $want"
cases=$((cases + 1))
[ -d 'it stops.work' ] && [ ! -e 'it stops' ] || fail "what Ctrl-C leaves" "$(ls)"

# An unfinished run is not overwritten, and is not resumed as another one.
expect_match 1 'eqat: it stops\.work: holds an unfinished run; --resume .*' "${long[@]}" -o 'it stops'
expect_match 1 'eqat: it stops\.work/run\.json: cannot resume: .*epochs.* 60 .* 61 .*' "${long[@]}" --epochs 61 -o 'it stops' --resume
expect_match 1 'eqat: it stops\.work/run\.json: cannot resume: .*group_size.*' "${long[@]}" --group-size 32 -o 'it stops' --resume
ids 30000 e.npy
expect_match 1 'eqat: it stops\.work/run\.json: cannot resume: data\..*' "${long[@]}" --data e.npy -o 'it stops' --resume
mv m m1 && tiny m --seed 7
expect_match 1 'eqat: it stops\.work/run\.json: cannot resume: model.*' "${long[@]}" -o 'it stops' --resume
mkdir other && echo text >other/file
expect_match 1 'eqat: other: expected a work folder.*' "${args[@]}" -o new --work-dir other
echo '{' >other/run.json
expect_match 1 'eqat: other/run\.json: .*not JSON.*' "${args[@]}" -o new --work-dir other --resume
# A finished run resumed is a finished run.
rm -rf m && mv m1 m
run "${args[@]}" -o whole --resume
cases=$((cases + 1))
[ "$rc" = 0 ] || fail "resuming a finished run" "exit $rc" "$err"
finish
