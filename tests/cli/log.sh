#!/bin/bash
# --log: no refused command changes one, no file in use becomes one, --resume goes on in it; every line is
# a JSON object with what a plot needs.
# usage: tests/cli/log.sh BUILD
. "$(dirname "$0")/expect.bash"
JSON=$(dirname "$EQAT")/json-lines
cd "$TMP" || exit 1
ids 20000 d.npy
tiny m --layers 3
args=(quantize m --data d.npy "${SMALL[@]}")
keeps() { # what, file, text that must still be in it
    cases=$((cases + 1))
    [ "$(cat "$2")" = "$3" ] || fail "$1: the log changed" "$(head -c 200 "$2")"
}
has() { # what, regex of a line of the log, file
    cases=$((cases + 1))
    grep -qE "$2" "$3" || fail "$1: no $2" "$(head -n 3 "$3")"
}

# ---- refused: nothing changes -------------------------------------------------------------------------
echo precious >keep
mkdir full && touch full/x
expect_match 1 'eqat: full: .*' "${args[@]}" -o full --log keep
expect_match 1 'eqat: nosuch.npy: .*' "${args[@]}" --data nosuch.npy -o o --log keep
expect_match 2 'eqat: quantize: .*' "${args[@]}" --bits 9 -o o --log keep
expect_match 1 'eqat: nosuch.*' ppl nosuch --data d.npy --log keep -q
expect_match 1 'eqat: .*' ppl m --data full --log keep -q
keeps "refused commands" keep precious
expect_match 1 'eqat: nosuch.npy: .*' "${args[@]}" --data nosuch.npy -o o --log new
cases=$((cases + 1))
[ ! -e new ] || fail "a refused command left its log"
expect_match 1 'eqat: no/log: cannot write the log: .*' "${args[@]}" -o o --log no/log
expect_match 1 'eqat: expected a file for the log, found an empty name' "${args[@]}" -o o --log ''
expect_match 1 'eqat: expected a work folder, found an empty name' "${args[@]}" -o o --work-dir '' --log keep
expect_match 1 'eqat: expected an output folder, found an empty name' "${args[@]}" -o '' --log keep
keeps "empty names" keep precious

# ---- files in use -------------------------------------------------------------------------------------
cp d.npy own.npy && ln -s own.npy link.npy && ln m/model.safetensors hard
own='expected a file of its own for the log, found'
for log in own.npy link.npy ./own.npy; do
    expect_match 1 "eqat: .*own.npy: $own --data .*|eqat: link.npy: $own --data .*" "${args[@]}" --data own.npy -o o --log $log
done
expect_match 1 "eqat: own.npy: $own --val-data .*" "${args[@]}" --val-data own.npy -o o --log own.npy
expect_match 1 "eqat: own.npy: $own --e2e-data .*" "${args[@]}" --e2e-data own.npy -o o --log own.npy
for log in m/model.safetensors m/new.log hard; do
    expect_match 1 "eqat: $log: $own MODEL \(m\)" "${args[@]}" -o o --log $log
    expect_match 1 "eqat: $log: $own MODEL \(m\)" ppl m --data d.npy --log $log -q
done
expect_match 1 "eqat: o/log: $own --out \(o\)" "${args[@]}" -o o --log o/log
expect_match 1 "eqat: o.work/log: $own --work-dir \(o.work\)" "${args[@]}" -o o --log o.work/log
expect_match 1 "eqat: w/log: $own --work-dir \(w\)" "${args[@]}" -o o --work-dir w --log w/log
expect_match 1 "eqat: own.npy: $own the text .*" ppl m --data own.npy --log own.npy -q
same "the data" d.npy own.npy
cases=$((cases + 1))
[ ! -e o ] && [ ! -e o.work ] && [ ! -e w ] && [ ! -e m/new.log ] || fail "refused commands left something" "$(ls)"

# ---- a stopped run keeps its log, --resume goes on in it ----------------------------------------------
"$EQAT" "${args[@]}" --epochs 30 -o o --log run.log >/dev/null 2>&1 &
pid=$!
for ((i = 0; i < 3000; i++)); do [ -e o.work/block-00000.safetensors ] && break; sleep 0.01; done
kill -9 $pid
wait $pid 2>/dev/null
printf '{"cut' >>run.log # as a kill in the middle of a line leaves it
cp run.log before
expect_match 1 'eqat: o.work: holds an unfinished run.*' "${args[@]}" --epochs 30 -o o --log run.log
same "the log of a refused run" before run.log
rm -rf o.work && run "${args[@]}" -o o --log run.log
[ "$rc" = 0 ] || fail "a run anew" "$err"
cases=$((cases + 1))
[ "$(grep -c '"event":"run"' run.log)" = 1 ] || fail "a run anew empties its log"
rm -rf o
"$EQAT" "${args[@]}" --epochs 30 -o o --log run.log >/dev/null 2>&1 &
pid=$!
for ((i = 0; i < 3000; i++)); do [ -e o.work/block-00000.safetensors ] && break; sleep 0.01; done
kill -TERM $pid
wait $pid
has "stopped" '"event":"stopped","message":"[^"]*stopped' run.log
lines=$(wc -l <run.log)
run "${args[@]}" --epochs 30 -o o --log run.log --resume
[ "$rc" = 0 ] || fail "resuming" "$err"
cases=$((cases + 2))
[ "$(grep -n '"event":"run"' run.log | cut -d: -f1 | tr '\n' ' ')" = "1 $((lines + 1)) " ] ||
    fail "where the resumed run begins" "$lines lines, then" "$(grep -n '"event":"run"' run.log | cut -c1-80)"
[ "$(tail -n 1 run.log | grep -c '"event":"result","out":"o"')" = 1 ] || fail "the last line" "$(tail -n 1 run.log)"
cases=$((cases + 1))
"$JSON" <run.log || fail "a line of the log is no JSON object"

# ---- what is in it ------------------------------------------------------------------------------------
number='[0-9.e+-]+'
has header '^\{"event":"run","resumed":false,"settings":\{.*"recipe":\{.*"kernels":"[^"]+","threads":[0-9]+.*"version":"[0-9.]+","utc":"20[0-9-]+T[0-9:]+Z","command":\["[^"]*eqat","quantize","m",' run.log
has header '"machine":\{"compiler":"(gcc|.*[Cc]lang) .*"onednn":"[0-9.]+","instruction_set":"(sse2|avx2|avx512)","cpu":"[^"]+","cores":[0-9]+,"memory_bytes":[0-9]+\}' run.log
has "a resumed run" '"event":"run","resumed":true' run.log
cases=$((cases + 1))
bad=$(grep -vE "\"elapsed\":$number,\"tokens_per_second\":($number|null),\"memory_bytes\":[1-9][0-9]*,\"memory_peak_bytes\":[1-9][0-9]*\}$" run.log)
[ -z "$bad" ] || fail "events without time, rate or memory" "$(head -n 3 <<<"$bad")"
has "phase of a step" '"event":"block_step".*"phase":"block-ap","elapsed"' run.log
has "phase of a step" '"event":"e2e_step".*"phase":"e2e-qp","elapsed"' run.log
has "rate" '"event":"block_step".*"tokens_per_second":[0-9]' run.log
run ppl m --data d.npy --seqlen 32 --limit 4 --log ppl.log -q
has "ppl" '^\{"event":"run","windows":4,"seqlen":32' ppl.log
has "ppl" '^\{"event":"result","ppl":[0-9.]+' ppl.log
# an error behind the first event stands at the end
printf '%s\n' "$(sed -n 1p keep)" >err.log
run "${args[@]}" -o none/there/o --log err.log --work-dir "$TMP/w2" --cache-dir /proc/nowhere
cases=$((cases + 1))
case $rc in 0) fail "a cache folder in /proc" ;; *) grep -q '"event":"error","message":' err.log || [ "$(cat err.log)" = precious ] || fail "an error in the log" "$(cat err.log)" ;; esac

# ---- a path that is not UTF-8 ---------------------------------------------------------------------------
odd=$'q\xff\xfe'
cases=$((cases + 2))
run quantize m --method rtn --json -q -o "$odd" --log odd.log
[ "$rc" = 0 ] && "$JSON" <"$TMP/.out" && grep -q '"out":"q��"' "$TMP/.out" || fail "a path that is not UTF-8" "$out" "$err"
"$JSON" <odd.log || fail "the log of a path that is not UTF-8"
for show in "inspect $odd --json" "ppl $odd --data d.npy --seqlen 32 --limit 2 --json -q" "generate $odd --prompt ab --max-tokens 2 --json"; do
    cases=$((cases + 1))
    run $show
    [ "$rc" = 0 ] && tr -d '\n' <"$TMP/.out" | "$JSON" || fail "$show" "$out" "$err"
done
finish
