#!/bin/bash
# eqat export: every format from a real checkpoint, what is said about it, what is refused, and that
# nothing is left behind.
# usage: tests/cli/export.sh BUILD
. "$(dirname "$0")/expect.bash"
cd "$TMP" || exit 1
tiny m
"$EQAT" quantize m --method rtn --bits 2 --group-size 64 -o w2 -q >/dev/null || exit 1
"$EQAT" quantize m --method rtn --bits 4 --group-size 64 -o w4 -q >/dev/null || exit 1
listing() { ls -A | grep -vxE '\.(out|err|diff)'; }

# done_as FORMAT OUT PATTERN ARGS...: exit 0, stdout matches; OUT is there.
done_as() {
    local out_name=$1 pattern=$2; shift 2
    cases=$((cases + 1))
    run export "$@" -o "$out_name"
    [ "$rc" = 0 ] && [[ $out =~ $pattern ]] && [ -e "$out_name" ] && [ -z "$err" ] && return
    fail "eqat export $*" "exit $rc" "stdout: $out" "   not: $pattern" "stderr: $err"
}
done_as w2.gguf '^w2\.gguf: gguf, [0-9.]+ KiB, 14 linears q2_0 \(.*\)
read back: all [0-9]+ weights are the model.s
read by llama\.cpp .*$' w2 --to gguf -q
done_as w4.gguf '14 linears q5_0' w4 --to gguf -q
done_as small.gguf 'weights differ from the model.s: by [0-9.e-]+ at most \(token_embd|output.* on
?average' w4 --to gguf --embeddings q8_0 -q
done_as w2-v1 'read back: all' w2 --to gptq-v1 -q
done_as w2-v2 'read back: all' w2 --to gptq -q
done_as w4-awq 'read back: all' w4 --to awq -q
done_as w4-ct 'read back: all' w4 --to compressed-tensors-asym -q
done_as w4-hf 'read back: all' w4 --to hf -q
done_as w4-lossy 'differ from the model' w4 --to gptq-sym --lossy -q
same "gptq without eqat.state holds the same tensors" w2/model.safetensors w2-v2/model.safetensors

# what was written opens as a model, with the same perplexity
ids 4000 d.npy
want=$("$EQAT" ppl w2 --data d.npy --as-written --precision f32 -q --json | sed 's/.*"ppl": *\([0-9.]*\).*/\1/')
for f in w2-v1 w2-v2; do
    cases=$((cases + 1))
    got=$("$EQAT" ppl $f --data d.npy --precision f32 -q --json | sed 's/.*"ppl": *\([0-9.]*\).*/\1/')
    [ -n "$want" ] && [ "$want" = "$got" ] || fail "perplexity of $f" "$got, the model's is $want"
done
want=$("$EQAT" ppl w4 --data d.npy --as-written --precision f32 -q --json | sed 's/.*"ppl": *\([0-9.]*\).*/\1/')
cases=$((cases + 1))
got=$("$EQAT" ppl w4-hf --data d.npy --precision f32 -q --json | sed 's/.*"ppl": *\([0-9.]*\).*/\1/')
[ -n "$want" ] && [ "$want" = "$got" ] || fail "perplexity of w4-hf" "$got, the model's is $want"

# folders of other tools are models like any other: read where they lie, trained, exported again
for f in w4-awq w4-ct; do
    cases=$((cases + 1))
    got=$("$EQAT" ppl $f --data d.npy --precision f32 -q --json | sed 's/.*"ppl": *\([0-9.]*\).*/\1/')
    [ -n "$want" ] && [ "$want" = "$got" ] || fail "perplexity of $f" "$got, the model's is $want"
done
cases=$((cases + 2))
run tune w4-awq --data d.npy --train-size 8 --seqlen 32 --batch-size 4 -o awq-tuned --to gguf -q
[ "$rc" = 0 ] && [ -e awq-tuned.gguf ] && [[ $out == *$'\n'"awq-tuned.gguf: gguf, "*", 14 linears q5_0 "* ]] || fail "tune of an AWQ folder" "$out" "$err"
run export w4-awq --to compressed-tensors-asym -o awq-ct -q
[ "$rc" = 0 ] || fail "export of an AWQ folder" "$err"
same "by way of AWQ the same tensors" w4-ct/model.safetensors awq-ct/model.safetensors

# trained zero points: real numbers where the format holds them, else refused
"$EQAT" tune w2 --data d.npy --train z --lr 1e-3 --train-size 8 --seqlen 32 --batch-size 4 -o w2-z -q >/dev/null || exit 1
for to in gptq gptq-v1 compressed-tensors-asym gguf; do
    expect_match 1 "eqat: w2-z/eqat\.state: tensor [^ ]*: $to holds whole zero points, found a trained one of [0-9.]+ in group [0-9]+ \(hf and mlx hold real ones; --lossy rounds\)" \
        export w2-z --to $to -o no -q
done
done_as w2-z-lossy 'read back: all' w2-z --to gptq --lossy -q
done_as w2-z-hf 'read back: all' w2-z --to hf -q
want=$("$EQAT" ppl w2-z --data d.npy --precision f32 -q --json | sed 's/.*"ppl": *\([0-9.]*\).*/\1/')
cases=$((cases + 1))
got=$("$EQAT" ppl w2-z-hf --data d.npy --precision f32 -q --json | sed 's/.*"ppl": *\([0-9.]*\).*/\1/')
[ -n "$want" ] && [ "$want" = "$got" ] || fail "perplexity of w2-z-hf" "$got, the model's is $want"

# and back in from GGUF: the same perplexity, and steps that can be trained
cases=$((cases + 2))
run import w2.gguf -o w2-in -q
[ "$rc" = 0 ] && [[ $out == 'w2-in: 2 bits, groups of 64 ('*'
read back: all '*" weights are the file's" ]] || fail "import" "$out" "$err"
want=$("$EQAT" ppl w2 --data d.npy --as-written --precision f32 -q --json | sed 's/.*"ppl": *\([0-9.]*\).*/\1/')
got=$("$EQAT" ppl w2-in --data d.npy --precision f32 -q --json | sed 's/.*"ppl": *\([0-9.]*\).*/\1/')
[ -n "$want" ] && [ "$want" = "$got" ] || fail "perplexity of w2-in" "$got, the model's is $want"
cases=$((cases + 1))
run tune w2-in --data d.npy --train-size 8 --seqlen 32 --batch-size 4 -o w2-tuned -q
[ "$rc" = 0 ] || fail "tune of an imported model" "$err"

# one JSON object
cases=$((cases + 1))
run export w4 --to awq -o json-awq --json -q
[[ $out == '{"out":'*'"different":0,'* ]] || [[ $out == '{"out": '*'"different": 0,'* ]] || fail "--json" "$out"

# ---- refused: one line, exit 1, nothing left
refuse() { # REGEX ARGS...
    local regex=$1 before; shift
    before=$(listing)
    expect_match 1 "eqat: $regex" export "$@" -q
    [ "$before" = "$(listing)" ] || fail "export $* left something" "$(listing)"
}
refuse 'm: expected a quantized model, found full precision .*' m --to gguf -o new.gguf
refuse 'model\.layers\.0\.self_attn\.q_proj.*awq cannot hold it: AWQ holds 4 bits' w2 --to awq -o new
refuse 'model\.layers\.0\.self_attn\.q_proj: .*zero points 7 and 8.*--grid portable.*' w4 --to gptq-sym -o new
refuse 'model\.layers\.0\.self_attn\.q_proj: .*zero points 7 and 8.*' w4 --to compressed-tensors -o new
refuse 'model\.layers\.0\.self_attn\.q_proj: .*fp16 numbers.*' w4 --to mlx -o new
refuse 'model\.layers\.0\.self_attn\.q_proj.*not every block of q4_0.*' w4 --to gguf --type q4_0 -o new.gguf
refuse 'w2\.gguf: expected a file that is not there yet, found one' w2 --to gguf -o w2.gguf
refuse 'w2: expected a file that is not there yet, found a folder' w2 --to gguf -o w2
refuse 'w2-v1: expected an absent or empty folder, found files in it' w2 --to gptq-v1 -o w2-v1
refuse 'w4: expected an output folder other than the model.s' w4 --to awq -o w4
refuse '.*nowhere.*' nowhere --to gguf -o new.gguf
mkdir plain && cp -r w2/. plain/ && rm plain/tokenizer.json
refuse 'plain: expected tokenizer\.json, found none' plain --to gguf -o new.gguf
cp -r w2 cut && truncate -s -100 cut/model.safetensors
refuse 'cut/model\.safetensors: .*' cut --to gguf -o new.gguf

expect_match 1 'eqat: d\.npy: expected a GGUF file of version 2 or 3, found another file' import d.npy -o new -q
expect_match 1 'eqat: nowhere\.gguf: .*No such file.*' import nowhere.gguf -o new -q
expect_match 1 'eqat: w2: expected an absent or empty folder, found files in it' import w2.gguf -o w2 -q
head -c 300000 w2.gguf >cut.gguf
expect_match 1 'eqat: cut\.gguf: tensor .*: expected offset .*' import cut.gguf -o new -q

# ---- quantize --to: both at once, and nothing where it could not be
done=$(listing)
expect_match 1 'eqat: m: gptq-sym holds zero points in the middle of the codes, which --grid portable trains' \
    quantize m --method rtn --bits 4 --group-size 64 -o to --to gptq-sym -q
expect_match 1 'eqat: model\.layers\.0\.self_attn\.q_proj \[.*awq cannot hold it: AWQ holds 4 bits' \
    quantize m --method rtn --bits 2 --group-size 64 -o to --to awq -q
expect_match 1 'eqat: w4: mlx holds zero points in the middle of the codes, found others .*' \
    tune w4 --data d.npy --train-size 8 --seqlen 32 --batch-size 4 -o to --to mlx -q
expect_match 1 'eqat: w2\.gguf: expected a file that is not there yet, found one' \
    quantize m --method rtn --bits 2 --group-size 64 -o w2 --to gguf -q
mv m/tokenizer.json held
expect_match 1 'eqat: m: expected tokenizer\.json, found none' \
    quantize m --method rtn --bits 2 --group-size 64 -o to --to gguf -q
mv held m/tokenizer.json
cases=$((cases + 3))
[ "$done" = "$(listing)" ] || fail "refused quantize --to left something" "$(listing)"
run quantize m --method rtn --bits 4 --group-size 64 --grid portable -o to --to gptq-sym -q --json
[ "$rc" = 0 ] && [ -e to/config.json ] && [ -e to-gptq-sym/config.json ] && [[ $out == *'"export":'*'"different":'*0* ]] || fail "quantize --to" "$out" "$err"
run quantize m --method rtn --bits 4 --group-size 64 --grid portable -o to --to gptq-sym -q --resume
[ "$rc" = 0 ] && [[ $out != *read\ back* ]] || fail "quantize --to, finished" "$out" "$err"

# ---- wrong command lines
usage() { local line=$1; shift; expect 2 "" "eqat: export: $line (eqat help export)" export "$@"; }
usage 'no MODEL given' --to gguf -o x
usage 'no format given: --to FORMAT' w2 -o x
usage 'no output given: -o OUT' w2 --to gguf
usage '--to: expected gguf|gptq|gptq-v1|gptq-sym|compressed-tensors|compressed-tensors-asym|awq|mlx|hf, found "gguff"; did you mean gguf?' w2 --to gguff -o x
usage '--type has no effect without --to gguf' w2 --to awq --type q4_0 -o x
usage '--dtype has no effect without --to hf' w2 --to gguf --dtype f16 -o x
finish
