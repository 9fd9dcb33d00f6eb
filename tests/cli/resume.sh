#!/bin/bash
# Kill -9 at random moments, then --resume; the finished folder is byte for byte that of a run that
# nobody disturbed, with streams in files no finished block is passed again, and a block whose state was
# saved is not begun again. Every other kill is of a run with streams in files, two of three are of runs
# that save often; some wait for a certain moment: within a block, within a step of the second phase,
# while the output is written. Also Ctrl-C, damaged streams, and work folders of another run.
# usage: tests/cli/resume.sh BUILD [KILLS=8] [SEED]
KILLS=${2:-8} RANDOM=${3:-$$}
. "$(dirname "$0")/expect.bash"
cd "$TMP" || exit 1
ids 20000 d.npy
BLOCKS=4
tiny m --layers $BLOCKS
# blocks of four sizes
args=(quantize m --data d.npy "${SMALL[@]}" --e2e-train-size 64 --train-size 64
    --scheme w2g64,down_proj=w4g32,layers.1=w3g128,0.*.q_proj=w2g32)
windows=68 # 64 and 4 of validation

start=${EPOCHREALTIME/[.,]/}
run "${args[@]}" -o whole
[ "$rc" = 0 ] || { fail "the undisturbed run" "$err"; finish; exit 1; }
took=$((${EPOCHREALTIME/[.,]/} - start))

saved() { ls "$1.work" 2>/dev/null | grep -c '^block-.*safetensors$'; }
# The run that resumed with N saved blocks passed only what it had to, by its log.
passed() { # what, log, N, in files?
    local again
    cases=$((cases + 1))
    [ "$3" -lt $BLOCKS ] || return
    for ((b = 0; b < $3; b++)); do
        again=$(grep "\"pass\",\"block\":$b," "$2")
        if [ -z "$4" ]; then
            [ "$(grep -c "\"windows\":$windows," <<<"$again")" = 2 ] || fail "$1: block $b of $3 was not passed" "$again"
        elif [ $b = $(($3 - 1)) ]; then # its own pass may have been cut off
            grep -q '"full"' <<<"$again" && fail "$1: block $b of $3 was passed again" "$again"
        else
            [ -z "$again" ] || fail "$1: block $b of $3 was passed again" "$again"
        fi
    done
}

# The run that resumed with a saved state of a block under training did not begin that block again.
went_on() { # what, log, state
    cases=$((cases + 1))
    local b=$((10#${3:6:5}))
    grep -q "\"block_step\",\"block\":$b,\"step\":0," "$2" && fail "$1: block $b was begun again" "$(grep -m1 block_step "$2")"
}
nap() { sleep "$(($1 / 1000000)).$(printf %06d $(($1 % 1000000)))"; }
# Until a file of this pattern is there, the program ends, or its usual time is over.
await() { # pattern, pid
    local end=$((${EPOCHREALTIME/[.,]/} + took * 2))
    until compgen -G "$1" >/dev/null || ! kill -0 "$2" 2>/dev/null || [ ${EPOCHREALTIME/[.,]/} -gt $end ]; do :; done
}
# Starts the run (from where it is), kills it after a random part of its time. True: it was killed.
kill_once() { # moment, dir, options
    "$EQAT" "${args[@]}" -o "$2" "${@:3}" >/dev/null 2>"$TMP/.err" &
    local pid=$! random=$((RANDOM * 32768 + RANDOM))
    case $1 in
    block) await "$2.work/block-*.now" $pid; nap $((random % 40000)) ;;
    step) await "$2.work/e2e*.step" $pid; nap $((random % 40000)) ;;
    write) await "$2.tmp-*" $pid; nap $((random % 20000)) ;;
    *) nap $((random % (took * 11 / 10))) ;;
    esac
    kill -9 $pid 2>/dev/null
    wait $pid 2>/dev/null
    [ $? = 137 ]
}
killed=0 rounds=0 again_killed=0 midway=0 in_block=0 in_step=0 writing=0
moments=(any block any step any write)
while [ $killed -lt "$KILLS" ] && [ $rounds -lt $((KILLS * 4 + 20)) ]; do
    rounds=$((rounds + 1))
    dir=k$rounds resume=() files=()
    [ $((rounds % 2)) = 0 ] || files=(--cache-dir cache)
    # One round in three is killed again while it resumes.
    for again in 1 $((RANDOM % 3)); do
        [ "$again" = 1 ] || continue
        moment=${moments[RANDOM % ${#moments[@]}]}
        save=(--save-seconds "$(case $((RANDOM % 3)) in 0) echo 0 ;; 1) echo 0.02 ;; *) echo 600 ;; esac)")
        kill_once $moment $dir "${files[@]}" "${save[@]}" "${resume[@]}" ||
            { [ $moment = any ] && took=$((took * 9 / 10)); break; }
        [ ${#resume[@]} = 0 ] || again_killed=$((again_killed + 1))
        killed=$((killed + 1)) resume=(--resume)
    done
    # Killed while it removed its work folder: the output is complete, nothing is passed any more.
    complete=; [ ! -e $dir ] || complete=1
    n=$(saved $dir) state=$(cd $dir.work 2>/dev/null && ls block-*.now 2>/dev/null | tail -n 1)
    [ -z "$complete" ] && [ "$n" -gt 0 ] && [ "$n" -lt $BLOCKS ] && midway=$((midway + 1))
    # A finished block's state may still be there.
    [ -n "$state" ] && [ -e "$dir.work/${state%.now}.safetensors" ] && state=
    [ -z "$state" ] || in_block=$((in_block + 1))
    compgen -G "$dir.work/e2e*.step" >/dev/null && in_step=$((in_step + 1))
    compgen -G "$dir.tmp-*" >/dev/null && writing=$((writing + 1))
    run "${args[@]}" -o $dir "${files[@]}" --resume --log k.log
    [ "$rc" = 0 ] || fail "resuming kill $killed" "exit $rc" "$err"
    same "after kill $killed" whole $dir
    [ -n "$complete" ] || passed "after kill $killed" k.log "$n" "${files[*]}"
    [ -n "$complete" ] || [ -z "$state" ] || went_on "after kill $killed" k.log "$state"
    cases=$((cases + 1))
    left=$(ls -Ad $dir.* 2>/dev/null; ls -A cache 2>/dev/null)
    [ -z "$left" ] || fail "left behind after kill $killed" "$left"
    rm -rf $dir $dir.* k.log
done
[ $killed -ge "$KILLS" ] || fail "only $killed kills of $KILLS hit a running program"
echo "$killed kills, $again_killed of them while it resumed, $midway between the first block and the last, $in_block within a block, $in_step within a step, $writing while the output was written"

# A kill when two blocks are saved, for certain; the streams go on, or are made anew with the same end:
# kept in memory, in files, in damaged files, in files when the next run would choose memory or names
# another folder.
long=(quantize m --data d.npy "${SMALL[@]::${#SMALL[@]}-1}" --e2e-train-size 64 --train-size 64 --epochs 6)
run "${long[@]}" -o long
for how in '' files damaged small forgotten moved; do
    files=()
    case $how in
    files | damaged | forgotten | moved) files=(--cache-dir cache) ;;
    small) # enough for a block, not for the streams
        need=$("$EQAT" plan "${long[@]:1}" --json | sed -n '/"block_ap"/,/}/s/.*"memory_bytes": *\([0-9]*\).*/\1/p')
        files=(--memory-limit $((need - 1000))) ;;
    esac
    "$EQAT" "${long[@]}" -o two "${files[@]}" >/dev/null 2>.err &
    pid=$!
    for ((i = 0; i < 3000; i++)); do [ -e two.work/block-00001.safetensors ] && break; sleep 0.01; done
    kill -9 $pid
    wait $pid 2>/dev/null
    n=$(saved two)
    cases=$((cases + 1))
    [ "$n" -ge 2 ] && [ "$n" -lt $BLOCKS ] || fail "a kill between blocks, $how: $n of $BLOCKS saved" "$(cat .err)"
    case $how in small | forgotten) files=() ;; moved) files=(--cache-dir cache2) ;; esac
    [ "$how" = damaged ] && for f in cache/stream-*; do
        for at in 100000 300000; do # in the middle of a pass one of them may be where no window is
            printf 'damage' | dd of="$f" bs=1 seek=$at conv=notrunc status=none
        done
    done
    run "${long[@]}" -o two "${files[@]}" --resume --log two.log
    [ "$rc" = 0 ] || fail "resuming with streams $how" "exit $rc" "$err"
    same "streams $how" long two
    case $how in damaged | moved) in_files= ;; *) in_files=$how ;; esac
    passed "streams $how" two.log "$n" "$in_files"
    cases=$((cases + 1))
    want="passing over finished blocks ($n), 10 % of what training them took"
    case $how in
    files | small | forgotten) [[ $err != *'passing over'* ]] || fail "streams $how: made anew" "$err" ;;
    damaged | moved) [[ $err == *"$want"* ]] || fail "streams $how" "$err" "not: $want" ;;
    *) [[ $err == *"$want; with --cache-dir they outlive a run"* ]] || fail "streams in memory" "$err" "not: $want" ;;
    esac
    left=$(ls -A cache; ls -A cache2 2>/dev/null)
    [ -z "$left" ] || fail "streams $how left behind" "$left"
    rm -rf two two.*
done

# Ctrl-C: the state is saved, the line that goes on is printed, and it does.
cases=$((cases + 1))
long=(quantize m --data d.npy "${SMALL[@]}" --e2e-train-size 64 --train-size 64 --epochs 60)
"$EQAT" "${long[@]}" -o 'it stops' >/dev/null 2>"$TMP/.err" &
pid=$!
sleep 0.7
kill -INT $pid
wait $pid
rc=$? err=$(tail -n 1 "$TMP/.err")
want="eqat: stopped; to go on: $EQAT quantize --resume ${long[*]:1} -o 'it stops'"
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
mkdir begun && touch begun/run.json.tmp-1 # killed while it wrote run.json
run "${args[@]}" -o new --work-dir begun --resume
cases=$((cases + 1))
[ "$rc" = 0 ] && [ ! -e begun ] || fail "a run killed at its first file" "exit $rc" "$err"
echo '{' >other/run.json
expect_match 1 'eqat: other/run\.json: .*not JSON.*' "${args[@]}" -o newer --work-dir other --resume
# A finished run resumed is a finished run.
rm -rf m && mv m1 m
run "${args[@]}" -o whole --resume
cases=$((cases + 1))
[ "$rc" = 0 ] || fail "resuming a finished run" "exit $rc" "$err"
finish
