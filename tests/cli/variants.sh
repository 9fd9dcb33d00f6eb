#!/bin/bash
# What Block-AP may train (the paper's Table 5): every set lowers the loss of every block and moves no norm that it
# does not name; the same bytes for any number of threads and after a kill within a block; sets that make no sense.
# usage: tests/cli/variants.sh BUILD
. "$(dirname "$0")/expect.bash"
cd "$TMP" || exit 1
tiny m
ids 4000 d.npy
RUN=(m --data d.npy --no-e2e --group-size 32 --train-size 12 --val-size 0 --seqlen 32 --epochs 6 -q)
declare -A RATES=([clip]="--clip-lr 0.02" [s,z]="--quant-lr 1e-3" [round]="" [w]="--weight-lr 1e-3"
    [s,z,round]="--quant-lr 1e-3 --round-lr 0.02" [s,z,w]="--quant-lr 1e-3 --weight-lr 1e-3" [clip,round]="")
first_and_last() { # LOG: each block's mean losses of its first and last epoch
    sed -n 's/.*"block_epoch","block":\([0-9]*\),"epoch":\([05]\),.*"train_loss":\([^,]*\),.*/\1 \2 \3/p' "$1"
}
for set in "${!RATES[@]}"; do
    run quantize "${RUN[@]}" -o "$set" --train "$set" ${RATES[$set]} --log "$set.log" --threads 1
    cases=$((cases + 1))
    [ "$rc" = 0 ] || fail "quantize --train $set" "$err"
    first_and_last "$set.log" | awk '$2 == 0 { was[$1] = $3 } $2 == 5 { n++; good += $3 < was[$1] } END { exit !(n == 2 && good == 2) }' ||
        fail "--train $set does not lower the loss of both blocks" "$(first_and_last "$set.log")"
done
cases=$((cases + 1))
grep -q '"weight_lr":[^,]*,"clip_lr":0.02,' clip.log && grep -q '"weight_lr":[^,]*,"round_lr":0.0555556,' round.log ||
    fail "rates of clip and round" "$(grep -m1 block_step clip.log)" "$(grep -m1 block_step round.log)"

# What was learned is in the finished block: offsets change codes, shares change steps.
for set in round clip; do
    run quantize "${RUN[@]}" -o still --train $set --$set-lr 1e-12
    cases=$((cases + 1))
    cmp -s $set/model.safetensors still/model.safetensors && fail "--train $set writes what it began with"
    rm -rf still
done

for set in s,z,round clip,round; do
    run quantize "${RUN[@]}" -o two --train "$set" ${RATES[$set]} --threads 2 --cache-dir streams
    same "--train $set on two threads" "$set/model.safetensors" two/model.safetensors
    rm -rf two
    hold '"block":1,"step":7' quantize "${RUN[@]}" -o two --train "$set" ${RATES[$set]} --save-seconds 0
    kill_it
    run quantize "${RUN[@]}" -o two --train "$set" ${RATES[$set]} --resume
    same "--train $set killed and gone on" "$set/model.safetensors" two/model.safetensors
    rm -rf two
done

no() { local line=$1; shift; expect 1 "" "eqat: $line" quantize "${RUN[@]}" -o x "$@"; }
no 'train: expected clip without s and z, which follow from it' --train clip,s
no 'train: expected clip without w, whose range it clips' --train clip,w
no 'train: expected round without w, which moves the same roundings' --train s,z,w,round
no 'start: expected minmax where clip is trained, found gptq, whose integers are on the grid of the whole range' \
    --train clip --start gptq
run quantize "${RUN[@]}" -o gptq-round --train round --start gptq
cases=$((cases + 1))
[ "$rc" = 0 ] || fail "round from GPTQ's start" "$err"
finish
