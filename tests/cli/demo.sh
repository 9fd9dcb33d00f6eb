#!/bin/bash
# The bundled model shows what the project is for: rounding to 2 bits ruins it, training repairs it.
# usage: tests/cli/demo.sh BUILD
. "$(dirname "$0")/expect.bash"
case $B in *san*) echo "SKIP demo: minutes under a sanitizer, and cli/pipeline walks the same code"; exit 77 ;; esac

cases=$((cases + 1))
mkdir -p "$TMP/scratch/eqat-demo.tmp-0killed0/rtn" # what a killed demo left goes, a folder of one's own stays
mkdir "$TMP/scratch/eqat-demo.tmp-mine"
TMPDIR=$TMP/scratch run demo --json
[ "$rc" = 0 ] || fail "eqat demo" "exit $rc" "$err"
cases=$((cases + 1))
[ "$(ls "$TMP/scratch")" = eqat-demo.tmp-mine ] || fail "the demo's scratch folder" "$(ls "$TMP/scratch")"
field() { grep -o "\"$1\":[0-9.e+-]*" <<<"$out" | cut -d: -f2; }
mapfile -t ppl < <(field ppl)
mapfile -t bits < <(field bits_per_weight)
[ ${#ppl[@]} = 4 ] || fail "eqat demo: ${#ppl[@]} rows, expected 4" "$out"
holds() { # what, awk expression over fp, rtn, ap, e2e
    cases=$((cases + 1))
    awk -v fp="${ppl[0]}" -v rtn="${ppl[1]}" -v ap="${ppl[2]}" -v e2e="${ppl[3]}" "BEGIN { exit !($2) }" ||
        fail "$1: not $2" "perplexities ${ppl[*]}"
}
# Each run has its own time to go: after two of six blocks that is some four blocks more, not what an earlier
# run's share of its job makes of it. Where blocks take less than a second nothing is said.
cases=$((cases + 1))
line=$(grep -a 'block-ap 2/6 done' <<<"$err")
awk -v line="$line" 'BEGIN {
    if (!match(line, /ETA [0-9hms]+/)) exit 0
    n = split(substr(line, RSTART + 4, RLENGTH - 4), part, /[hms]/)
    for (i = 1; i < n; i++) left = 60 * left + part[i]
    if (!match(line, /  [0-9.]+ s;/)) exit 0 # slow: minutes a block
    exit !(left < 20 * substr(line, RSTART + 2))
}' && [ -n "$line" ] || fail "the time to go after two of six blocks" "$line"
holds "the model is a good one" "fp > 1 && fp < 2.2"
holds "rounding ruins it" "rtn > 3 * fp"
holds "Block-AP repairs it" "ap < 1.5 * fp"
holds "E2E-QP repairs more" "e2e < ap && e2e < 1.35 * fp"
for i in 1 2 3; do
    cases=$((cases + 1))
    [ "${bits[i]}" = 2.28125 ] || fail "row $i: ${bits[i]} bits per weight, expected 2.28125"
done
finish
