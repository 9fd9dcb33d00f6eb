#!/bin/bash
# --grid q2_k and q4_k: rounded, by GPTQ, AWQ and trained by both phases, with codes free too, every model goes into these types of
# GGUF with nothing lost; zero points stay one for 256 weights; the same bytes for any number of threads and after
# kills in both phases; what does not fit is refused before anything is made, by plan too.
# usage: tests/cli/kgrid.sh BUILD
. "$(dirname "$0")/expect.bash"
cd "$TMP" || exit 1
"$MAKE_MODEL" m --family llama --hidden 256 --inner 512 --layers 2 --heads 4 --kv-heads 2 --vocab 300 --context 128 --dtype bf16 >/dev/null
ids 4000 d.npy
TRAIN=(--data d.npy --train-size 8 --val-size 2 --seqlen 32 --epochs 2 --quant-lr 1e-3 --weight-lr 1e-3)
TUNE=(--e2e-train-size 12 --e2e-seqlen 32 --e2e-batch-size 4 --e2e-lr 2e-3 --save-every 1)
declare -A FORMAT=([q2_k]="--bits 2 --group-size 64 --grid q2_k" [q4_k]="--bits 4 --group-size 32 --grid q4_k")

# Its linears are read back from the file's blocks as they are in the folder, all in that type.
exact() { # what, type: of the run just made
    cases=$((cases + 1))
    [ "$rc" = 0 ] && [[ $out == *"14 linears $2 "* ]] && [[ $out == *"read back: all "*" weights are the model's"* ]] ||
        fail "$1" "exit $rc" "$out" "$err"
}
for g in q2_k q4_k; do
    format=(${FORMAT[$g]})
    run quantize m "${format[@]}" --method rtn --no-e2e -o $g-rtn --to gguf -q
    exact "rounded on $g" $g
    for method in gptq awq; do
        run quantize m "${format[@]}" --method $method --no-e2e --data d.npy --train-size 8 --seqlen 32 -o $g-$method --to gguf -q
        exact "$method on $g" $g
    done
    run quantize m "${format[@]}" "${TRAIN[@]}" --no-e2e -o $g-ap --to gguf -q
    exact "Block-AP on $g" $g
    run quantize m "${format[@]}" "${TRAIN[@]}" "${TUNE[@]}" -o $g --to gguf -q --threads 1
    exact "both phases on $g" $g
    run inspect $g
    cases=$((cases + 3))
    [[ $out =~ grid\ +$g ]] || fail "inspect of $g" "$out"
    run inspect $g --json # s, w and the norms; the grid is in the recipe
    [[ $out == *'"train": 13'* ]] && [[ $out == *"\"recipe\":"*"\"grid\": \"$g\""* ]] || fail "the recipe of $g" "$out"
    # eqat.state has the very steps of the GPTQ tensors
    "$EQAT" ppl $g --data d.npy --seqlen 32 --limit 8 -q >a && "$EQAT" ppl $g --data d.npy --seqlen 32 --limit 8 --as-written -q >b
    [ "$(cut -d' ' -f2 a)" = "$(cut -d' ' -f2 b)" ] || fail "steps as written of $g" "$(cat a b)"
    # both phases move them
    cases=$((cases + 2))
    cmp -s $g-rtn.gguf $g-ap.gguf && fail "Block-AP on $g changes nothing"
    cmp -s $g-ap.gguf $g.gguf && fail "E2E-QP on $g changes nothing"

    run quantize m "${format[@]}" "${TRAIN[@]}" "${TUNE[@]}" -o two -q --threads 2
    same "$g on two threads" $g two
    rm -rf two
    for at in '"block":1,"step":2' '"e2e_step","step":1'; do
        hold "$at" quantize m "${format[@]}" "${TRAIN[@]}" "${TUNE[@]}" -o two --save-seconds 0 -q
        kill_it
        run quantize m "${format[@]}" "${TRAIN[@]}" "${TUNE[@]}" -o two --resume -q
        same "$g killed at $at" $g two
        rm -rf two
    done
    # the second phase alone goes on from the folder's own steps, with weights behind the codes too
    run tune $g-ap --data d.npy --train-size 12 --seqlen 32 --batch-size 4 --lr 2e-3 -o $g-tuned --to gguf -q
    exact "tune on $g" $g
    run tune $g-ap --data d.npy --train-size 12 --seqlen 32 --batch-size 4 --lr 2e-3 --train s,w,norm --teacher m -o $g-free --to gguf -q
    exact "free codes on $g" $g
done
# Groups of several sizes share a grid; what symmetric types hold, these models are
run quantize m --bits 2 --scheme w2g64,mlp=w2g256,v_proj=w2g32 --grid q2_k --method rtn --no-e2e -o mixed --to gguf -q
exact "groups of several sizes" q2_k
for g in q2_k q4_k; do
    run export $g --to compressed-tensors -o $g-ct -q
    cases=$((cases + 1))
    [ "$rc" = 0 ] || fail "compressed-tensors from $g" "$err"
done
run export q2_k --to gguf --type q2_0 -o smaller.gguf -q
exact "Q2_0 where it is asked for" q2_0

# ---- refused, with nothing left
before=$(ls)
no() { # LINE ARGS...: by quantize, its dry run and plan
    local line=$1; shift
    expect 1 "" "eqat: $line" quantize m --data d.npy -o x -q "$@"
    expect 1 "" "eqat: $line" quantize m --data d.npy -o x -q --dry-run "$@"
    expect 1 "" "eqat: $line" plan m -o x -q "$@"
}
no 'model.layers.*.self_attn.q_proj: the grid q4_k expects 4 bits, found w2g64' --grid q4_k
no 'model.layers.*.self_attn.q_proj: the grid q2_k expects 2 bits, found w3g64' --grid q2_k --bits 3
no 'model.layers.1.mlp.down_proj: the grid q2_k expects 2 bits, found w4g64' --grid q2_k --scheme w2g64,1.*.down_proj=w4
no 'model.layers.*.self_attn.q_proj: the grid q2_k expects groups of 32, 64, 128 or 256 weights, found w2g-1' --grid q2_k --group-size -1
no 'e2e-train: expected s without z, of which the grid q2_k has one for 256 weights' --grid q2_k --e2e-train s,z
no 'train: expected neither clip nor round on the grid q2_k' --grid q2_k --train clip
no 'train: expected s, w or norm, found z alone, which the grid q2_k holds' --grid q2_k --train z
expect 1 "" 'eqat: e2e-train: expected s without z, of which the grid q2_k has one for 256 weights' \
    tune q2_k --data d.npy -o x --train z -q
tiny small
expect 1 "" 'eqat: model.layers.*.self_attn.q_proj: the grid q2_k expects inputs that 256 divides, found 128' \
    quantize small --data d.npy -o x --grid q2_k --group-size 32 -q
rm -r small
cases=$((cases + 1))
[ "$before" = "$(ls)" ] || fail "a refused run left something" "$(ls)"
sed -i 's/"eqat_grid": "q4_k"/"eqat_grid": "q5_k"/' q4_k/config.json
expect_match 1 'eqat: q4_k/config\.json: quantization_config "eqat_grid": expected "free", "portable", "q2_k" or "q4_k", found "q5_k"' \
    ppl q4_k --data d.npy --seqlen 32 --limit 1
finish
