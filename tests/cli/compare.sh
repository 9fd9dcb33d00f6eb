#!/bin/bash
# compare: a row for every scheme and method with the figures that the single commands give; --resume goes on
# after a kill and computes nothing twice; names that are wrong; the page.
# usage: tests/cli/compare.sh BUILD
. "$(dirname "$0")/expect.bash"
cd "$TMP" || exit 1
ids 20000 d.npy
ids 4000 t.npy
tiny m --layers 2
args=(compare m --data d.npy "${SMALL[@]}" --ppl-data t.npy --ppl-seqlen 64 --ppl-limit 8)
all=(--schemes w4g32,W2A16G64 --methods rtn,gptq,e2e,block-ap,both)
figure() { # row, key: out of results.json
    sed -n "/^    \"$1\": {/,/^    }/p" "$3/results.json" | sed -n "s/.*\"$2\": *\([0-9.e+-]\{2,\}\),*$/\1/p" | head -n 1
}
near() { awk -v a="$1" -v b="$2" 'BEGIN { d = a - b; if (d < 0) d = -d; exit !(b > 0 && d <= 1e-5 * b) }'; }

run "${args[@]}" "${all[@]}" -o c
cp "$TMP/.out" table
cases=$((cases + 2))
[ "$rc" = 0 ] && [ -z "$err" ] || fail "a comparison" "exit $rc" "$err"
[ "$(wc -l <table)" = 13 ] && [ "$(grep -cE '^w[24]g' table)" = 10 ] && grep -q '^scheme *method *ppl windows' table ||
    fail "the table" "$(cat table)"
for row in w4g32-rtn w4g32-gptq w4g32-block-ap w4g32-e2e w4g32-both w2g64-rtn w2g64-both; do
    cases=$((cases + 1))
    [ -s c/$row/config.json ] && [ -s c/$row.jsonl ] && [ ! -e c/$row.work ] || fail "what row $row leaves" "$(ls c)"
done
well_formed c/report.html
cases=$((cases + 1))
for t in 'Comparison: m' 'Perplexity against size, windows' 'Distance from full precision' 'Validation gap' 'Error of the linears' \
    'EfficientQAT: both phases' 'w2g64-block-ap'; do
    grep -qF "$t" c/report.html || fail "the page: no $t"
done

# the single commands say the same: perplexity, divergence, and the folder of both phases byte for byte
run ppl c/w2g64-both --data t.npy --seqlen 64 --limit 8 --json -q
cases=$((cases + 4))
near "$(figure w2g64-both ppl c)" "$(sed 's/.*"ppl":\([0-9.e+-]*\),.*/\1/' <<<"$out")" || fail "perplexity" "$(figure w2g64-both ppl c)" "$out"
run kld c/w2g64-rtn --reference m --data t.npy --seqlen 64 --limit 8 --json -q
near "$(figure w2g64-rtn kl c)" "$(sed 's/.*"kl_mean":\([0-9.e+-]*\),.*/\1/' <<<"$out")" || fail "divergence" "$(figure w2g64-rtn kl c)" "$out"
run ppl m --data t.npy --seqlen 64 --limit 8 --json -q
near "$(figure full-precision ppl c)" "$(sed 's/.*"ppl":\([0-9.e+-]*\),.*/\1/' <<<"$out")" || fail "full precision" "$out"
run quantize m --data d.npy "${SMALL[@]}" --scheme w2g64 -o both
cmp -s c/w2g64-both/model.safetensors both/model.safetensors || fail "both phases by quantize, and from block-ap's folder"

# killed, stopped, and on: nothing that is done is done again
for ((try = 0; try < 5; try++)); do # on a busy machine the moment may pass
    rm -rf k
    "$EQAT" "${args[@]}" "${all[@]}" -o k >/dev/null 2>&1 &
    pid=$!
    until compgen -G 'k/w4g32-block-ap.work/block-00000.safetensors' >/dev/null || ! kill -0 $pid 2>/dev/null; do :; done
    kill -9 $pid 2>/dev/null
    wait $pid 2>/dev/null
    [ -e k/w4g32-block-ap.work ] && break
done
cp -r k before
expect_match 1 'eqat: k: expected an empty or absent folder \(--resume goes on with a comparison\)' "${args[@]}" "${all[@]}" -o k
expect_match 1 'eqat: k/results.json: the comparison was begun with epochs 2, found 3: .*' "${args[@]}" "${all[@]}" -o k --resume --epochs 3
expect_match 1 'eqat: k/results.json: the comparison was begun with ppl-limit 8, found 4: .*' "${args[@]}" "${all[@]}" -o k --resume --ppl-limit 4
same "refused commands" before k
run "${args[@]}" "${all[@]}" -o k --resume
cases=$((cases + 3))
[ "$rc" = 0 ] || fail "going on" "$err"
cmp -s k/w2g64-both/model.safetensors c/w2g64-both/model.safetensors || fail "another model after a kill"
strip() { sed -E '/"(seconds|memory_peak_bytes|out)"/d' "$1"; }
[ "$(strip k/results.json)" = "$(strip c/results.json)" ] || fail "other figures after a kill" "$(diff <(strip k/results.json) <(strip c/results.json) | head)"
cases=$((cases + 2))
cmp -s k/w4g32-rtn.jsonl before/w4g32-rtn.jsonl || fail "a finished row was made again"
[ "$(grep -c '"event":"run"' k/w4g32-block-ap.jsonl)" = 2 ] || fail "the row under way did not go on"
cp k/results.json once
run "${args[@]}" "${all[@]}" -o k --resume
cases=$((cases + 1))
[ "$rc" = 0 ] && cmp -s once k/results.json && [ -z "$err" ] || fail "a comparison that is done" "$err" "$out"

# more rows of the same; variants of what is trained; JSON
run "${args[@]}" --schemes w2g64 --methods block-ap,both --train-variants s,z/s,z,w --e2e-variants s/s,z -o k --resume --json
cases=$((cases + 1))
[ "$rc" = 0 ] && [ -s k/w2g64-both-s+z-e2e-s+z/config.json ] && grep -q '"w2g64-both-s+z+w-e2e-s":{"scheme":"w2g64"' "$TMP/.out" ||
    fail "variants" "$err" "$(ls k)"

# a second phase that asks the model itself: the same bytes as quantize, from block-ap's folder
taught=(--e2e-loss kl --e2e-train s,w,norm)
run "${args[@]}" "${taught[@]}" --schemes w2g64 --methods block-ap,both -o r
[ "$rc" = 0 ] || fail "compare --e2e-loss kl" "$err"
run quantize m --data d.npy "${SMALL[@]}" "${taught[@]}" --scheme w2g64 -o light
cases=$((cases + 1))
cmp -s r/w2g64-both/model.safetensors light/model.safetensors || fail "both phases, taught" "$err"

# ---- refused ----------------------------------------------------------------------------------------
c() { local line=$1; shift; expect 2 "" "eqat: compare: $line (eqat help compare)" compare "$@"; }
c '--methods: unknown method "bloc-ap"; did you mean block-ap?' m --data d.npy --schemes w2g64 --methods rtn,bloc-ap --ppl-data t.npy -o n
c '--methods: unknown method "qlora"; there are rtn, gptq, awq, block-ap, e2e, both' m --data d.npy --schemes w2g64 --methods qlora --ppl-data t.npy -o n
c '--schemes: expected 2, 3 or 4 bits in the scheme, found "w5g64"' m --data d.npy --schemes w2g64,w5g64 --methods rtn --ppl-data t.npy -o n
c 'compare: expected every row once, found w2g64-rtn again' m --schemes w2g64,w2a16g64 --methods rtn --ppl-data t.npy -o n
c '--train: expected some of s,z,w,norm,clip,round, found "s,q"' m --data d.npy --schemes w2g64 --methods both --train-variants s,z/s,q --ppl-data t.npy -o n
c 'no MODEL given'
c 'no output given: -o DIR' m
c 'no schemes given: --schemes w4g64,w2g64' m -o n
c 'no methods given: --methods rtn,both' m -o n --schemes w2
c 'nothing to measure: --wikitext2, --c4 or --ppl-data FILE, or --tasks LIST' m -o n --schemes w2 --methods rtn
c 'no training text given: --data FILE' m -o n --schemes w2 --methods both --ppl-data t.npy
c '--task-data has no effect without --tasks' m -o n --schemes w2 --methods rtn --ppl-data t.npy --task-data t
c 'unknown option --bits' m --bits 2
cases=$((cases + 1))
[ ! -e n ] || fail "a refused comparison left something"
mkdir other && echo '{}' >other/results.json
expect_match 1 'eqat: other/results.json: expected the results of eqat compare' "${args[@]}" "${all[@]}" -o other --resume
finish
