#!/bin/bash
# The work folder of a run and what it is made from: flipped bits, two runs at once, other instruction sets, model
# files that change under a run, finished outputs that lost something.
# usage: tests/cli/work-folder.sh BUILD [FLIPS=2] [SEED]
FLIPS=${2:-2} RANDOM=${3:-$$}
. "$(dirname "$0")/expect.bash"
cd "$TMP" || exit 1
ids 20000 d.npy
tiny m --layers 3
args=(quantize m --data d.npy "${SMALL[@]}")
run "${args[@]}" -o whole
[ "$rc" = 0 ] || { fail "the undisturbed run" "$err"; finish; exit 1; }

# ---- a flipped bit in any file: the file is made again or named, the end is the same
# a folder of each phase: a block done and one begun (states of every epoch); steps done
saved='"pass","block":0,"stream":"quantized"' # block 0 is in the work folder
hold '"block_epoch","block":1,"epoch":0' "${args[@]}" -o out --save-seconds 0; kill_it
mv out.work phase1
hold '"e2e_step","step":3' "${args[@]}" -o out --save-seconds 0; kill_it
mv out.work phase2
flips=0 named=0
for folder in phase1 phase2; do
    for f in "$folder"/*; do
        name=${f##*/} size=$(stat -c %s "$f")
        [ "$size" -gt 0 ] || continue
        for ((k = 0; k < FLIPS; k++)); do
            rm -rf out out.work && cp -r $folder out.work
            at=$(((RANDOM * 32768 + RANDOM) % size)) bit=$((RANDOM % 8))
            byte=$(od -An -tu1 -j $at -N 1 "$f")
            printf "\\x$(printf %02x $((byte ^ (1 << bit))))" | dd of="out.work/$name" bs=1 seek=$at conv=notrunc status=none
            run "${args[@]}" -o out --resume
            flips=$((flips + 1)) cases=$((cases + 1))
            if [ $rc = 1 ] && [[ $err == "eqat: out.work/$name: "* ]] && [ "$(wc -l <.err)" = 1 ]; then named=$((named + 1))
            elif [ $rc != 0 ]; then fail "bit $bit of byte $at of $folder/$name" "exit $rc" "$err"
            else same "bit $bit of byte $at of $folder/$name" whole out
            fi
        done
    done
done
rm -rf out out.work phase1 phase2
echo "$flips flips, $named named, the others mended"
[ $flips -ge $((9 * FLIPS)) ] || fail "only $flips flips"

# ---- two runs at once
for how in '' --resume; do
    hold "$saved" "${args[@]}" -o out
    expect_match 1 'eqat: out\.work: expected a work folder of this run alone, found another run that uses it' "${args[@]}" -o out $how
    let_go
    cases=$((cases + 1))
    [ $rc = 0 ] || fail "the first of two runs" "exit $rc" "$err"
    same "the first of two runs" whole out
    rm -rf out
done

# ---- side files of the model: they are of the run, too, touched or not
hold "$saved" "${args[@]}" -o out; kill_it
mv m/tokenizer.json away; sed 's/{/ {/' away >m/tokenizer.json
expect_match 1 'eqat: out\.work/run\.json: cannot resume: side_files\.tokenizer\.json is "[0-9a-f]*" in that run and "[0-9a-f]*" now' "${args[@]}" -o out --resume
rm m/tokenizer.json
expect_match 1 'eqat: out\.work/run\.json: cannot resume: side_files\.tokenizer\.json is in that run and not now' "${args[@]}" -o out --resume
mv away m/tokenizer.json; echo '{}' >m/vocab.json
expect_match 1 'eqat: out\.work/run\.json: cannot resume: side_files\.vocab\.json is nothing in that run and "[0-9a-f]*" now' "${args[@]}" -o out --resume
rm m/vocab.json; touch m/*
hold '"e2e_step","step":3' "${args[@]}" -o out --resume
touch m/*
let_go
cases=$((cases + 1))
[ $rc = 0 ] || fail "touched while it ran" "exit $rc" "$err"
same "touched before --resume and while it ran" whole out
rm -rf out
hold "$saved" "${args[@]}" -o out
echo ' ' >>m/tokenizer.json
let_go
cases=$((cases + 1))
[ $rc = 1 ] && [ ! -e out ] && [ "$err" = 'eqat: m/tokenizer.json: expected it as when the run began, found another' ] || fail "a side file changed while it ran" "exit $rc" "$err"
truncate -s -2 m/tokenizer.json
run "${args[@]}" -o out --resume
same "a side file put right, --resume" whole out

# ---- what a kill between the last rename and the end of the removal leaves
mkdir out.work mine; touch out.work/lock mine/lock
for work in '' '--work-dir mine'; do
    cases=$((cases + 1))
    run "${args[@]}" -o out --resume $work
    [ $rc = 0 ] && [ ! -e mine/lock -o -z "$work" ] || fail "a folder half removed, $work" "exit $rc" "$err"
done
cases=$((cases + 1))
[ ! -e out.work ] && [ -d mine ] || fail "folders half removed" "$(ls -d out* mine)"
rm -rf out mine

# ---- another instruction set, another backend: named, not mixed
hold "$saved" "${args[@]}" -o out; kill_it
expect_match 1 'eqat: out\.work/run\.json: cannot resume: that run computes with ".*oneDNN.*", this one with "scalar", .*or remove out.work and begin anew' "${args[@]}" -o out --resume --backend ref
if grep -q avx2 /proc/cpuinfo; then
    expect_match 1 'eqat: out\.work/run\.json: cannot resume: that run computes with "avx.*", this one with "sse2, .*", .*' \
        "${args[@]}" -o out --resume --cpu-mask sse2
fi
cases=$((cases + 1)) # a setting of oneDNN's own
ONEDNN_DEFAULT_FPMATH_MODE=BF16 run "${args[@]}" -o out --resume
[ $rc = 1 ] && [[ $err == *'cannot resume: that run computes with '*'this one with '*'fp32 as bf16'* ]] || fail "fp32 as bf16" "exit $rc" "$err"
run "${args[@]}" -o out --resume --backend finite:cpu --threads 1
cases=$((cases + 1))
[ $rc = 0 ] || fail "a wrapper and another number of threads" "$err"
same "a wrapper and another number of threads" whole out

# ---- nothing begun, and already finished
cases=$((cases + 1))
run quantize m --data d.npy "${SMALL[@]::${#SMALL[@]}-1}" -o fresh --resume
[ $rc = 0 ] && [[ $err == *'fresh.work: nothing to go on with, the run begins'* ]] || fail "--resume of nothing" "exit $rc" "$err"
cases=$((cases + 1))
run "${args[@]}" -o out --resume --json
[ $rc = 0 ] && [[ $out == *'"bytes":'[1-9]* ]] || fail "a finished run" "exit $rc" "$out" "$err"
expect_match 1 'eqat: out/eqat\.state: cannot resume: recipe\.block_ap\.epochs is 2 in that run and 3 now' "${args[@]}" -o out --resume --epochs 3
for f in model.safetensors eqat.state config.json tokenizer.json; do
    mv out/$f away
    expect_match 1 "eqat: out(/$f: cannot open: No such file.*|: expected an absent or empty folder, found files in it)" "${args[@]}" -o out --resume
    head -c 10 away >out/$f
    expect_match 1 "eqat: out/$f: .*" "${args[@]}" -o out --resume
    mv away out/$f
done
expect_match 1 'eqat: out: expected an absent or empty folder, found files in it' "${args[@]}" -o out
cp -r m full && expect_match 1 'eqat: full: expected an absent or empty folder, found files in it' "${args[@]}" -o full --resume
rm -rf out full

# ---- model files that change under a run: a line with the file's name, or the bytes of the undisturbed run
tiny m7 --layers 3 --seed 7
cp -r m keep
changed() { # what, regex
    let_go
    cases=$((cases + 1))
    [ $rc = 1 ] && [ ! -e out ] && [ "$(wc -l <.bg)" = 1 ] && [[ $err =~ ^eqat:\ m/model\.safetensors:\ $2 ]] || fail "$1" "exit $rc" "$err"
    rm -rf m && cp -r keep m
    run "${args[@]}" -o out --resume
    [ $rc = 0 ] || fail "$1, put right, --resume" "$err"
    same "$1, put right, --resume" whole out
    rm -rf out out.work
}
for at in "$saved" '"e2e_step","step":3'; do
    for cache in '' '--cache-dir c'; do
        hold "$at" "${args[@]}" -o out $cache
        cat m7/model.safetensors >m/model.safetensors
        changed "overwritten in place at $at $cache" 'expected the file as it was opened'
    done
    hold "$at" "${args[@]}" -o out
    truncate -s 100000 m/model.safetensors
    changed "cut at $at" '(expected the file as it was opened|cannot be read any more)'
done
hold "$saved" "${args[@]}" -o out
cp m7/model.safetensors m/new && mv m/new m/model.safetensors && echo '{}' >m/config.json # the run has the old ones open
let_go
cases=$((cases + 1))
[ $rc = 0 ] || fail "replaced by a rename" "exit $rc" "$err"
same "replaced by a rename" whole out
rm -rf m && cp -r keep m && rm -rf out
hold "$saved" "${args[@]}" -o out --cache-dir c
for f in c/*; do truncate -s 4096 "$f"; done
let_go
cases=$((cases + 1))
[ $rc = 1 ] && [ "$(wc -l <.bg)" = 1 ] && [[ $err =~ ^eqat:\ c/stream-.*:\ cannot\ be\ read\ any\ more ]] || fail "streams cut" "exit $rc" "$err"
run "${args[@]}" -o out --cache-dir c --resume
same "streams cut, --resume" whole out

# ---- roll-backs and blocks that stayed at round-to-nearest stand in the result, under -q too
cases=$((cases + 1))
tiny hot --layers 3 --std 1e15
args[1]=hot
run "${args[@]}" -o wild --json
[ $rc = 0 ] && [[ $out =~ '"rollbacks":'[1-9] ]] && [[ $out == *'"blocks_untrained":3'* ]] &&
    [[ $err == 'eqat: wild: losses that were not finite: '*'; blocks that stayed at round-to-nearest: 3' ]] || fail "roll-backs" "exit $rc" "$out" "$err"
first=$out
run "${args[@]}" -o wild --json --resume
cases=$((cases + 1))
[ "${out##*rollbacks}" = "${first##*rollbacks}" ] || fail "roll-backs of a finished run" "$first" "$out"
finish
