#!/bin/bash
# make-model: every family is a model that eqat reads; the bytes depend on the seed alone.
# usage: tests/cli/make-model.sh BUILD
. "$(dirname "$0")/expect.bash"
cd "$TMP" || exit 1
shape=(--hidden 64 --inner 96 --layers 2 --heads 4 --kv-heads 2 --vocab 300 --context 256)
made() { # DIR OPTIONS...: makes it, and eqat names the family it was made as
    local dir=$1; shift
    cases=$((cases + 1))
    "$MAKE_MODEL" "$dir" "${shape[@]}" "$@" 2>.err || { fail "make-model $*" "$(cat .err)"; return; }
    run inspect "$dir"
    [ "$rc" = 0 ] || fail "inspect of make-model $*" "$err"
}
refused() { # CODE REGEX ARGS...
    local code=$1 regex=$2; shift 2
    cases=$((cases + 1))
    "$MAKE_MODEL" "$@" >.out 2>.err
    [ $? = "$code" ] && [ ! -s .out ] && [ "$(wc -l <.err)" = 1 ] && [[ $(cat .err) =~ $regex ]] && return
    fail "make-model $*" "$(cat .err)"
}
made llama --dtype f32 --attention-bias --mlp-bias
made llama3 --rope-scaling llama3 --tied --tied-as lm_head
made linear --rope-scaling linear --dtype f16
made dynamic --rope-scaling dynamic --rope-factor 4
made mistral --family mistral --sliding-window 16
made qwen2 --family qwen2 --tied
made qwen3 --family qwen3 --head-dim 32
made small --vocab 50 # too small for a tokenizer

made one --threads 1
made two --threads 2
same "threads 1 and 2" one two
made other --seed 1
cases=$((cases + 1))
cmp -s one/model.safetensors other/model.safetensors && fail "seed 1 gives the bytes of seed 0"

# The same weights in shards: every tensor's bytes lie somewhere in the single file's data.
made shards --shard-size 50000
cases=$((cases + 1))
whole=$(tail -c +$((9 + $(od -An -tu8 -N8 one/model.safetensors))) one/model.safetensors | md5sum)
parts=$(for f in shards/model-*.safetensors; do tail -c +$((9 + $(od -An -tu8 -N8 "$f"))) "$f"; done | md5sum)
[ "$whole" = "$parts" ] && [ "$(ls shards/model-*.safetensors | wc -l)" -gt 2 ] || fail "shards hold other weights"

refused 2 'unknown preset foo' x --like foo
refused 2 '--hidden: unknown option, or a value' x --hidden 6a
refused 2 '--layers: unknown option, or a value' x --layers -1
refused 2 '--no-such: unknown option' x --like tiny --no-such
refused 2 'expected OUT and --like' x --hidden 64
refused 1 'gpt: expected a model_type that eqat reads' x --like tiny --family gpt
refused 1 'absent or empty folder' one --like tiny
refused 1 'f64: expected bf16' x --like tiny --dtype f64
refused 1 'num_attention_heads 5' x --like tiny --heads 5
refused 1 '--tied-as both' x --like tiny --tied-as both
cases=$((cases + 1))
[ ! -e x ] || fail "a refused call left a folder"
finish
