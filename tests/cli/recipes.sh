#!/bin/bash
# --recipe: the options that the help text lists for it give the same bytes; options beside it win, wherever
# it stands; plan knows its time and memory; a wrong name is refused.
# usage: tests/cli/recipes.sh BUILD
. "$(dirname "$0")/expect.bash"
cd "$TMP" || exit 1
ids 20000 d.npy
tiny m

# options COMMAND RECIPE: what its help text lists.
options() {
    "$EQAT" help "$1" | awk -v name="$2" '/^recipes/ { on = 1; next } !on { next } /^$/ { exit }
        /^  [a-z]/ { mine = $1 == name; next } mine'
}
for r in light best; do
    cases=$((cases + 1))
    [ -n "$(options quantize $r)" ] || fail "recipe $r sets nothing" "$("$EQAT" help quantize | tail -n 30)"
done
cases=$((cases + 1))
[ -z "$(options quantize paper)" ] || fail "the paper's recipe is not the defaults" "$(options quantize paper)"

# SMALL makes a run of seconds of either
read -ra light <<<"$(options quantize light | tr '\n' ' ')"
run quantize m --data d.npy --recipe light "${SMALL[@]}" -o by-name --log by-name.log
[ "$rc" = 0 ] || fail "--recipe light" "$err"
run quantize m --data d.npy "${light[@]}" "${SMALL[@]}" -o by-options
[ "$rc" = 0 ] || fail "${light[*]}" "$err"
same "a recipe and its options" by-name by-options
run quantize m --data d.npy "${SMALL[@]}" -o behind --recipe light
same "a recipe behind the options that win over it" by-name behind
run quantize m --data d.npy "${SMALL[@]}" -o paper --recipe paper
run quantize m --data d.npy "${SMALL[@]}" -o plain
same "the paper's recipe and none" paper plain
cases=$((cases + 2))
cmp -s by-name/model.safetensors plain/model.safetensors && fail "--recipe light changes nothing"
grep -q '"event":"run".*"quant_lr":.*"command":.*"--recipe","light"' by-name.log || fail "settings in the log" "$(head -n 1 by-name.log)"

run tune plain --teacher m --data d.npy --recipe light --train-size 32 --seqlen 32 --batch-size 4 -q -o tuned
cases=$((cases + 1))
[ "$rc" = 0 ] || fail "tune --recipe light" "$err"

# plan: what the recipe and the options beside it come to
flop() { run plan m "$@" --memory-limit 32M --json # measured with small products
    sed -n '/"block_ap"/,/}/s/.*"flop": *\([0-9.e+-]*\),*/\1/p' <<<"$out"; }
cases=$((cases + 2))
[ "$(flop --recipe light)" = "$(flop "${light[@]}")" ] || fail "plan --recipe light" "$(flop --recipe light)"
[ "$(flop --recipe best)" != "$(flop --recipe best --epochs 1)" ] || fail "plan --recipe best --epochs 1"

expect 2 "" 'eqat: quantize: --recipe: expected paper|light|best, found "lihgt"; did you mean light? (eqat help quantize)' \
    quantize m --data d.npy -o o --recipe lihgt
expect 2 "" 'eqat: plan: --recipe: expected paper|light|best, found "gourmet" (eqat help plan)' plan m --recipe gourmet
finish
