#!/bin/bash
# Bad input: one line that names file, tensor or line, what was expected and what was found; exit 1;
# nothing half-written.
# usage: tests/cli/bad-input.sh BUILD
. "$(dirname "$0")/expect.bash"
cd "$TMP" || exit 1
ids 20000 d.npy
tiny m
size=$(stat -c %s m/model.safetensors)
export LC_ALL=C

listing() { ls -A | grep -vxE '\.(out|err|diff)'; }
# refuse REGEX ARGS...: quantize refuses, and no output, work folder or temporary file appears.
refuse() {
    local regex=$1 before after; shift
    before=$(listing)
    expect_match 1 "eqat: $regex" quantize "${SMALL[@]}" "$@"
    after=$(listing)
    [ "$before" = "$after" ] || fail "quantize $* left something" "$(diff <(echo "$before") <(echo "$after"))"
    rm -rf out out.*
}
# broken NAME: a copy of the model to be broken; its folder is $bad.
broken() { bad=$1; rm -rf "$bad"; cp -r m "$bad"; f=$bad/model.safetensors; c=$bad/config.json; }
poke() { printf "$2" | dd of="$f" bs=1 seek="$1" conv=notrunc 2>/dev/null; }
config() { # key value: replaces the value in config.json, or adds the key
    if grep -q "\"$1\"" "$c"; then sed -i -E "s/(\"$1\": *)(\"[^\"]*\"|[^,}]*)/\1$2/" "$c"
    else sed -i "1,/{/s/{/{\"$1\": $2,/" "$c"; fi
}
q=(bad --data d.npy -o out)

# ---- safetensors
broken bad; truncate -s $((size - 1)) "$f"; refuse "bad/model\.safetensors: .*" "${q[@]}"
broken bad; truncate -s 5 "$f"; refuse "bad/model\.safetensors: .*" "${q[@]}"
broken bad; : >"$f"; refuse "bad/model\.safetensors: .*" "${q[@]}"
broken bad; echo x >>"$f"; refuse "bad/model\.safetensors: .*" "${q[@]}"
broken bad; poke 0 '\xff\xff\xff\x7f'; refuse "bad/model\.safetensors: .*header.*" "${q[@]}"
broken bad; poke 0 '\xff\xff\xff\xff\xff\xff\xff\xff'; refuse "bad/model\.safetensors: .*header.*" "${q[@]}"
broken bad; poke 8 '['; refuse "bad/model\.safetensors: .*" "${q[@]}"
broken bad; sed -i '1s/"F32"/"F99"/' "$f"; refuse "bad/model\.safetensors: .*F99.*" "${q[@]}"
broken bad; sed -i '1s/"data_offsets":\[0,/"data_offsets":[4,/' "$f"; refuse "bad/model\.safetensors: .*" "${q[@]}"
broken bad; sed -i '1s/q_proj/q_prok/' "$f"; refuse ".*q_pro[jk].*" "${q[@]}"
broken bad; rm "$f"; refuse "bad.*" "${q[@]}"
broken bad; poke $((size - 4)) '\x00\x00\xc0\x7f'; refuse ".*(NaN|nan|finite).*" "${q[@]}"
broken bad; poke $((size - 4)) '\x00\x00\x80\x7f'; refuse ".*(inf|finite).*" "${q[@]}"

# ---- config.json
for change in 'model_type:"gpt_neox"' 'hidden_act:"gelu"' 'hidden_size:64' 'hidden_size:0' 'hidden_size:-128' \
    'hidden_size:"128"' 'num_hidden_layers:1' 'num_hidden_layers:3' 'num_attention_heads:3' 'num_key_value_heads:3' \
    'intermediate_size:300' 'vocab_size:383' 'rms_norm_eps:"a"' 'rope_theta:-1' 'max_position_embeddings:0' \
    'rope_scaling:{"rope_type":"longrope","factor":2.0}' 'partial_rotary_factor:0.5' 'attention_bias:true'; do
    broken bad
    config "${change%%:*}" "${change#*:}"
    refuse "bad(/config\.json|/model\.safetensors|: tensor ).*" "${q[@]}"
done
broken bad; echo '{' >"$c"; refuse 'bad/config\.json: .*' "${q[@]}"
broken bad; : >"$c"; refuse 'bad/config\.json: .*' "${q[@]}"
broken bad; rm "$c"; refuse 'bad/config\.json: .*No such file.*' "${q[@]}"
broken bad; config hidden_size '128,"hidden_size": 128'; refuse 'bad/config\.json: .*duplicate.*' "${q[@]}"
refuse 'nowhere.*' nowhere --data d.npy -o out
refuse 'd\.npy.*' d.npy --data d.npy -o out

# ---- number format
tiny odd --hidden 96 --inner 160 --heads 3 --kv-heads 3
refuse '.*(down_proj|group).*' odd --data d.npy -o out --group-size 128
"$EQAT" quantize m --method rtn -o packed -q >/dev/null || fail "round to nearest"
refuse 'packed: expected a full-precision model.*' packed --data d.npy -o out
expect_match 1 'eqat: m: expected a quantized model.*' tune m --data d.npy -o out

# ---- data
refuse 'no\.npy: .*No such file.*' m --data no.npy -o out
head -c 100 d.npy >short.npy; refuse 'short\.npy: .*' m --data short.npy -o out
ids 10 tiny.npy; refuse 'tiny\.npy: .*' m --data tiny.npy -o out
sed '1s/|u1/<f4/' d.npy >float.npy; refuse 'float\.npy: .*' m --data float.npy -o out
tiny small --vocab 50
refuse 'd\.npy: .*50.*' small --data d.npy -o out
ids 640 rows.npy 20
refuse 'rows\.npy: expected windows of 16 tokens, found rows of 32' m --data rows.npy -o out --seqlen 16
cp d.npy d.bin; refuse 'd\.bin: .*' m --data d.bin -o out

# ---- text
: >empty.txt; refuse 'empty\.txt: .*' m --data empty.txt -o out
echo 'a few words' >few.txt; refuse 'few\.txt: .*' m --data few.txt -o out
{ seq 5000; printf 'caf\xe9\n'; } >latin.txt; refuse 'latin\.txt: .*(byte|UTF-8).*' m --data latin.txt -o out
for i in $(seq 100); do echo '{"text": "'$(seq $i $((i + 60)) | tr '\n' ' ')'"}'; done >good.jsonl
{ cat good.jsonl; echo '{"text": 3}'; } >bad.jsonl; refuse 'bad\.jsonl: line 101: .*' m --data bad.jsonl -o out
{ cat good.jsonl; echo '{"text": "'; } >bad.jsonl; refuse 'bad\.jsonl: line 101.*' m --data bad.jsonl -o out
{ cat good.jsonl; echo '{"words": "a"}'; } >bad.jsonl; refuse 'bad\.jsonl: line 101: .*text.*' m --data bad.jsonl -o out
gzip -c good.jsonl | head -c 200 >cut.jsonl.gz; refuse 'cut\.jsonl\.gz: .*' m --data cut.jsonl.gz -o out
cp good.jsonl plain.jsonl.zst; refuse 'plain\.jsonl\.zst: .*' m --data plain.jsonl.zst -o out
# ---- tokenizer
broken bad; rm bad/tokenizer.json; refuse 'bad: expected tokenizer\.json, found none' bad --data good.jsonl -o out
broken bad; echo '{' >bad/tokenizer.json; refuse 'bad/tokenizer\.json: .*' bad --data good.jsonl -o out
broken bad; sed -i 's/"BPE"/"WordPiece"/' bad/tokenizer.json; refuse 'bad/tokenizer\.json: .*WordPiece.*' bad --data good.jsonl -o out
broken bad; sed -i 's/"ByteLevel"/"Whitespacy"/g' bad/tokenizer.json; refuse 'bad/tokenizer\.json: .*Whitespacy.*' bad --data good.jsonl -o out
expect_match 1 'eqat: prompt: .*' generate m --prompt "$(seq 200 | tr '\n' ' ')"

# ---- output
refuse 'm: .*' m --data d.npy -o m
refuse '\./m/: .*' m --data d.npy -o ./m/
mkdir full && echo text >full/file
refuse 'full: .*empty.*' m --data d.npy -o full
refuse 'd\.npy: .*' m --data d.npy -o d.npy
refuse 'd\.npy.*' m --data d.npy -o d.npy/out
refuse '/proc/out: .*' m --data d.npy -o /proc/out

# ---- a disk that fills in the middle (a limit on file sizes stands for it)
for blocks in 1 20 400; do
    cases=$((cases + 1))
    before=$(listing)
    (trap '' XFSZ; ulimit -f $blocks; "$EQAT" quantize m --data d.npy -o out "${SMALL[@]}" >.out 2>.err)
    rc=$?
    [ $rc = 1 ] && [ "$(wc -l <.err)" = 1 ] && grep -qE '^eqat: .*(File too large|cannot write)' .err && [ ! -e out ] ||
        fail "a disk full after $blocks KiB" "exit $rc" "$(cat .err)" "$(ls)"
    rm -rf out.work .out .err
    [ "$before" = "$(listing)" ] || fail "a full disk left something" "$(listing)"
done
if [ -w /dev/full ]; then
    expect 1 "" "eqat: /dev/full: the log could not be written in full" quantize m --data d.npy -o out "${SMALL[@]}" --log /dev/full
fi
finish
