#!/bin/bash
# Data as people bring it: the same text under every name and in every form gives the same windows; folders,
# patterns, standard input, weights, packing; bad lines; a data file that changed under a run.
# usage: tests/cli/data.sh BUILD
. "$(dirname "$0")/expect.bash"
cd "$TMP" || exit 1
tiny m
nl=$'\n'
doc() { seq "$1" $(($1 + 20 + $1 % 7)) | tr '\n' ' '; }
for i in $(seq 40); do echo '{"id": '"$i"', "text": "'"$(doc "$i")"'"}'; done >d.jsonl

# measured ARGS...: perplexity and windows of m on some data, in $got; -: what is wrong.
measured() {
    run ppl m "$@" --seqlen 32 --json -q
    got=$(grep -oE '"(ppl|windows)": *[0-9.e+-]*' <<<"$out" | tr -d '\n')
    [ "$rc" = 0 ] || got="-: $err"
}
is() { # what, expected
    cases=$((cases + 1))
    [ "$got" = "$2" ] || fail "$1" "$got" "not: $2"
}
measured --data d.jsonl; want=$got
[[ $want == '"ppl"'* ]] || fail "the plain case" "$want"

# ---- one text in many forms -----------------------------------------------------------------------------
cp d.jsonl d.NDJSON; measured --data d.NDJSON; is "capitals" "$want"
gzip -c d.jsonl >d.jsonl.gz; measured --data d.jsonl.gz; is "gzip" "$want"
{ cat d.jsonl.gz; head -c 5000 /dev/zero; } >pad.jsonl.gz; measured --data pad.jsonl.gz; is "gzip, padded" "$want"
{ head -n 7 d.jsonl | gzip; tail -n +8 d.jsonl | gzip; } >two.jsonl.gz; measured --data two.jsonl.gz; is "two members" "$want"
{ echo '['; sed '$!s/$/,/' d.jsonl; echo ']'; } >d.json; measured --data d.json; is "an array" "$want"
{ printf '['; sed '$!s/$/,/' d.jsonl | tr '\n' ' '; printf ']'; } >d1.json; measured --data d1.json; is "an array in a line" "$want"
{ printf '\xef\xbb\xbf'; sed 's/$/\r/' d.jsonl; } >bom.jsonl; measured --data bom.jsonl; is "mark and \\r\\n" "$want"
sed 's/"id": [0-9]*/"id": 99999999999999999999, "x": NaN, "s": "\\ud800"/' d.jsonl >odd.jsonl
measured --data odd.jsonl; is "numbers and surrogates beside the text" "$want"
sed 's/"text"/"a": {"body"/; s/}$/}}/' d.jsonl >field.jsonl; measured --data field.jsonl --text-field a.body; is "a field" "$want"
measured --data - <d.jsonl; is "standard input, a file" "$want"
got=$(cat d.jsonl | "$EQAT" ppl m --data - --seqlen 32 --json -q 2>&1 | grep -oE '"(ppl|windows)": *[0-9.e+-]*' | tr -d '\n'); is "standard input, a pipe" "$want"
got=$(gzip -c d.json | "$EQAT" ppl m --data - --seqlen 32 --json -q 2>&1 | grep -oE '"(ppl|windows)": *[0-9.e+-]*' | tr -d '\n'); is "standard input, packed" "$want"
awk '{print} NR % 9 == 0 {print "{\"text\": \"\\udc00\"}\nno JSON\n{\"body\": 1}"}' d.jsonl >bad.jsonl
measured --data bad.jsonl --skip-bad; is "bad lines passed over" "$want"
run ppl m --data bad.jsonl --skip-bad --seqlen 32
cases=$((cases + 1))
grep -q '^bad.jsonl: 12 of 52 objects passed over (--skip-bad), the first: bad.jsonl: line 10: "text": a lone surrogate$' .err || fail "what was passed over" "$err"

# ---- several files --------------------------------------------------------------------------------------
mkdir -p dir/sub && head -n 9 d.jsonl >dir/a.jsonl && tail -n +10 d.jsonl | gzip >dir/sub/b.jsonl.gz && touch dir/README dir/.hidden.txt
measured --data dir; is "a folder" "$want"
measured --data 'dir/*'; is "a pattern that fits a folder" "$want"
cp dir/sub/b.jsonl.gz dir/b.jsonl.gz; rm -r dir/sub
measured --data 'dir/[ab].jsonl*'; is "a pattern" "$want"
ids 20000 ids.npy
seq 1000000 | tr -d '\n' | head -c 20000 | sed 's/./&\x00/g' | tr -d '\n' >ids.bin
measured --data ids.npy; want=$got
measured --data ids.bin --ids-dtype u16; is "raw ids" "$want"
for n in 1 2; do doc $n >t$n.txt; done
printf '%s' "$(sed 's/$/\r/' <<<"a${nl}b${nl}$(doc 3)${nl}$(doc 4)")" >crlf.txt; tr -d '\r' <crlf.txt >lf.txt
measured --data lf.txt; want=$got; measured --data crlf.txt; is "\\r\\n in a .txt" "$want"
measured --data - <crlf.txt; is "\\r\\n on standard input" "$want"

# ---- weights and packing, both phases -------------------------------------------------------------------
head -n 20 d.jsonl >a.jsonl; tail -n 20 d.jsonl >b.jsonl
run quantize m --data a.jsonl:0.75 --data b.jsonl:0.25 -o mixed "${SMALL[@]}" --log mixed.log
cases=$((cases + 1))
[ $rc = 0 ] && grep -q '"event": *"data".*"for": *"training".*"windows": *24.*a.jsonl.*"sum".*b.jsonl' mixed.log || fail "weights" "$err" "$(grep '"data"' mixed.log)"
run quantize m --data b.jsonl:1 --data a.jsonl:3 -o other "${SMALL[@]}"
cases=$((cases + 1))
cmp -s mixed/model.safetensors other/model.safetensors && fail "the order of weighted data changed nothing"
refused() { expect_match "$@" -o out "${SMALL[@]}"; [ ! -e out ] && [ ! -e out.work ] || fail "something was left"; }
refused 1 'eqat: b\.jsonl: has no weight, unlike the data before it: .*' quantize m --data a.jsonl:1 --data b.jsonl
refused 1 'eqat: b\.jsonl: weight: expected a number above 0, found 0' quantize m --data b.jsonl:0
refused 1 'eqat: b\.jsonl: its weight gives it none of 24 windows' quantize m --data a.jsonl:1 --data b.jsonl:1e-9
for i in $(seq 400); do echo '{"text": "no. '"$i"'"}'; done >short.jsonl
refused 1 'eqat: short\.jsonl: documents 1 to 360: windows of 32 tokens need a document of at least 33, .*' quantize m --data short.jsonl
run quantize m --data short.jsonl --pack -o packed "${SMALL[@]}"
cases=$((cases + 1))
[ $rc = 0 ] || fail "packing" "$err"
cp -r m endless; sed -i -E 's/"(eos_token(_id)?)": [^,]*/"\1": null/' endless/config.json endless/tokenizer_config.json
refused 1 'eqat: endless: packing and instruction rows need an end token: .*' quantize endless --data short.jsonl --pack

# ---- what is refused ------------------------------------------------------------------------------------
refused 1 'eqat: nosuch: expected a name ending in .*' quantize m --data nosuch
refused 1 'eqat: no\*\.jsonl: no file fits this pattern' quantize m --data 'no*.jsonl'
mkdir empty; refused 1 'eqat: empty: no data file in this folder .*' quantize m --data empty
refused 1 'eqat: d\.parquet: .*pandas.*' quantize m --data d.parquet
refused 1 'eqat: ids\.bin: a \.bin does not say what .*--ids-dtype.*' quantize m --data ids.bin
refused 1 'eqat: d\.jsonl: line 1: "body": expected a string, found nothing; strings in it: "text" \(--text-field\)' quantize m --data d.jsonl --text-field body
expect_match 1 'eqat: d\.jsonl: a text that is measured has no weight' ppl m --data d.jsonl:0.5 -q

# ---- a data file that changed under a run is named --------------------------------------------------------
args=(quantize m --data a.jsonl --data b.jsonl "${SMALL[@]}")
run "${args[@]}" -o whole
hold '"pass","block":0,"stream":"quantized"' "${args[@]}" -o out; kill_it
cp b.jsonl keep; echo '{"text": "more"}' >>b.jsonl
expect_match 1 'eqat: out\.work/run\.json: cannot resume: data\.files\.b\.jsonl\.bytes is [0-9]* in that run and [0-9]* now' "${args[@]}" -o out --resume
sed 's/30 /31 /' keep >b.jsonl
expect_match 1 'eqat: out\.work/run\.json: cannot resume: data\.files\.b\.jsonl\.sum is .*' "${args[@]}" -o out --resume
mkdir elsewhere; mv keep elsewhere/b.jsonl; mv a.jsonl elsewhere
run quantize m --data elsewhere/a.jsonl --data elsewhere/b.jsonl "${SMALL[@]}" -o out --resume
cases=$((cases + 1))
[ $rc = 0 ] || fail "the same data elsewhere" "$err"
same "resumed with its data elsewhere" whole out
finish
