#!/bin/bash
# AWQ: scales go where the family can take them, and change nothing but the rounding (a block rounded from there is as
# near to its target as one that is just rounded, or nearer); the same bytes for any number of threads and after a kill.
# usage: tests/cli/awq.sh BUILD
. "$(dirname "$0")/expect.bash"
demo=$PWD/assets/demo
cd "$TMP" || exit 1
ids 4000 d.npy
RUN=(--data d.npy --no-e2e --group-size 32 --train-size 12 --seqlen 32 -q)
shares() { # MODEL START: of each block's loss where training moves nothing
    run quantize "$1" -o x "${RUN[@]::${#RUN[@]}-1}" --bits 4 --val-size 0 --epochs 1 --quant-lr 1e-12 --weight-lr 1e-12 --start "$2" --log x.log
    [ "$rc" = 0 ] || fail "quantize $1 --start $2" "$err"
    cp .err notes
    rm -rf x
    sed -n 's/.*"block_epoch".*"train_share":\([^,]*\),.*/\1/p' x.log
}
family() { # scaled inputs a block, the notes, make-model's options: both starts end near the target
    local scaled=$1 notes=$2 near; shift 2
    "$MAKE_MODEL" m --hidden 64 --inner 96 --layers 2 --heads 4 --vocab 300 --context 256 "$@" || fail "make-model $*"
    near=$(shares m minmax)
    paste <(echo "$near") <(shares m awq) >both
    cases=$((cases + 3))
    awk '{ n++; bad += !($1 > 0 && $1 < 0.05 && $2 > 0 && $2 < 1.15 * $1) } END { exit !(n == 2 && !bad) }' both ||
        fail "AWQ's start of $*: share of the loss, rounded and from there" "$(cat both)"
    [ "$(grep -c '"event":"awq"' x.log)" = $((2 * scaled)) ] || fail "scaled inputs of $*" "$(grep '"event":"awq"' x.log)"
    found=$(sed -n 's/^AWQ: no scales for what //p' notes)
    [ "$found" = "$notes" ] || fail "what cannot be scaled of $*" "$found"
    rm -rf m x.log
}
heads='self_attn.o_proj takes in: several query heads share a value head'
family 4 '' --family llama --kv-heads 4
family 3 "$heads" --family gemma2 --kv-heads 2 --head-dim 16
family 3 'self_attn.o_proj takes in: v_proj has a bias' --family qwen2 --kv-heads 4
family 4 '' --family phi3 --kv-heads 4
family 1 $'self_attn.q_proj takes in: no norm stands in front\n'"$heads"$'\nmlp.gate_proj takes in: no norm stands in front' \
    --family olmo2 --kv-heads 2
family 2 $'self_attn.q_proj takes in: the norm in front has a bias\nmlp.gate_proj takes in: the norm in front has a bias' \
    --family stablelm --kv-heads 4

"$MAKE_MODEL" m --hidden 64 --inner 96 --layers 2 --heads 4 --kv-heads 4 --vocab 300 --context 256
q() { # OUT ARGS...
    local to=$1; shift
    run quantize m -o "$to" "${RUN[@]}" "$@"
    [ "$rc" = 0 ] || fail "quantize $*" "$err"
}
q one --method awq --threads 1
q two --method awq --threads 2 --cache-dir streams
same "threads, streams in files" one/model.safetensors two/model.safetensors
cases=$((cases + 2))
[[ $err != *"round-to-nearest"* ]] || fail "AWQ is taken for a block that was not trained" "$err"
run quantize m -o rtn --method rtn --no-e2e --group-size 32 -q
cmp -s one/model.safetensors rtn/model.safetensors && fail "AWQ gives what rounding gives"
q start --start awq --epochs 1 --val-size 0 --quant-lr 1e-12 --weight-lr 1e-12
same "training that moves nothing from AWQ's start" one/model.safetensors start/model.safetensors

hold '"block":1' quantize m -o stopped "${RUN[@]}" --method awq
kill_it
run quantize m -o stopped "${RUN[@]}" --method awq --resume
same "killed and gone on" one/model.safetensors stopped/model.safetensors

no() { local line=$1; shift; expect 2 "" "eqat: quantize: $line (eqat help quantize)" quantize m -o x "$@"; }
no '--epochs has no effect with --method awq, which trains no blocks' --method awq --data d.npy --epochs 2
no 'no training text given: --data FILE' --method awq

# The bundled model.
case $B in *san*) finish; exit ;; esac
on_demo awq 0.8
finish
