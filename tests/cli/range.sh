#!/bin/bash
# --range mse: rtn, GPTQ and Block-AP begin with ranges that round with fewer errors, at every number of bits and on every
# grid; AWQ and --train clip keep their own; the same bytes for any number of threads; it is part of what a run is.
# usage: tests/cli/range.sh BUILD
. "$(dirname "$0")/expect.bash"
cd "$TMP" || exit 1
"$MAKE_MODEL" m --family llama --hidden 256 --inner 512 --layers 2 --heads 4 --kv-heads 2 --vocab 300 --context 128 --dtype bf16 >/dev/null
ids 4000 d.npy
TRAIN=(--data d.npy --train-size 8 --seqlen 32)
error() { grep -o '"error":{[^}]*}' "$1" | grep -o ':[0-9.e-]*' | tr -d : | awk '{ s += $1 } END { print s }'; }
less() { # what, share, log, log: the errors of the first are below that share of the second's
    cases=$((cases + 1))
    awk -v a="$(error "$3")" -v b="$(error "$4")" -v share="$2" 'BEGIN { exit !(a > 0 && a < share * b) }' || fail "$1" "$(error "$3")" "$(error "$4")"
}
for format in "2 free .8" "3 free .98" "4 free 1.02" "2 portable .8" "2 q2_k .9"; do
    read -r bits grid share <<<"$format"
    for range in minmax mse; do
        rtn=rtn-$bits-$grid
        run quantize m --bits $bits --grid $grid --method rtn --no-e2e --range $range -o $rtn-$range --log $rtn-$range.log -q
    done
    less "errors at $bits bits, $grid" "$share" $rtn-mse.log $rtn-minmax.log
done
run quantize m --bits 2 --method rtn --no-e2e --range mse --threads 1 -o one -q
same "one thread and more" one rtn-2-free-mse
run inspect rtn-2-free-mse --json
cases=$((cases + 1))
[[ $out == *'"range": "mse"'* ]] || fail "the recipe does not tell" "$out"

# GPTQ and Block-AP begin there; what has ranges of its own does not, also where a recipe asks for it
for how in "--method gptq" "--start gptq --epochs 1 --val-size 0" "--epochs 1 --val-size 0"; do
    run quantize m $how "${TRAIN[@]}" --no-e2e -o a -q
    run quantize m $how "${TRAIN[@]}" --no-e2e --range mse -o b -q
    cases=$((cases + 1))
    [ -s b/model.safetensors ] && ! cmp -s a/model.safetensors b/model.safetensors || fail "$how: the range changes nothing" "$err"
    rm -rf a b
done
for how in "--method awq" "--train clip"; do
    run quantize m --recipe light $how "${TRAIN[@]}" --no-e2e -o a -q
    run inspect a --json
    cases=$((cases + 1))
    [[ $out == *'"recipe"'* ]] && [[ $out != *'"range"'* ]] || fail "$how: a range that is not used" "$out$err"
    rm -rf a
done

run tune rtn-2-free-minmax --recipe light --loss ce "${TRAIN[@]}" --train-size 2 -o tuned -q
run inspect tuned --json
cases=$((cases + 1))
[[ $out == *'"method": "tune"'* ]] && [[ $out != *'"range"'* ]] || fail "tune: a range that is not used" "$out$err"

# A run that was stopped goes on with the range that it began with
hold '"block":1,"step":2' quantize m "${TRAIN[@]}" --no-e2e --range mse -o r --save-seconds 0 -q
kill_it
run quantize m "${TRAIN[@]}" --no-e2e -o r --resume -q
cases=$((cases + 1))
[ "$rc" = 1 ] && [[ $err == *range* ]] || fail "resumed with another range" "exit $rc" "$err"
run quantize m "${TRAIN[@]}" --no-e2e --range mse -o r --resume -q
run quantize m "${TRAIN[@]}" --no-e2e --range mse -o whole -q
same "stopped and gone on" r whole
finish
