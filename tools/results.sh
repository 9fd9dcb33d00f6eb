#!/bin/bash
# A published reference run: every scheme and method on one model by eqat compare, written to results/NAME.md with
# the command, seed, fingerprints of model and data, machine and figures. Goes on where it was stopped.
# usage: tools/results.sh NAME MODEL TRAIN TEST WORK [options of compare, --tasks and --task-data among them]
# TEST: a .raw file of WikiText-2, or what --ppl-data takes.
# NAME.md says them all, so a reader with the same files can run it again.
set -eu
cd "$(dirname "$0")/.."
[ $# -ge 5 ] || { sed -n '2,6s/^# //p' "$0"; exit 2; }
name=$1 model=$2 train=$3 test=$4 work=$5; shift 5
B=${B:-build}
case $test in *.raw) protocol=--wikitext2 ;; *) protocol=--ppl-data ;; esac
args=(--data "$train" $protocol "$test" --schemes "${SCHEMES:-w4g64,w3g64,w2g64}"
    --methods "${METHODS:-rtn,gptq,e2e,block-ap,both}" "$@")
"$B/eqat" compare "$model" "${args[@]}" -o "$work" --resume >"$work.table"

sum() { sha256sum "$1" | cut -c1-16; }
mkdir -p results
{
    echo "# $name"
    echo
    echo "Made by \`tools/results.sh\`; eqat $(git describe --always --dirty), $(date -u +%F)."
    echo
    echo "    eqat compare $(basename "$model") ${args[*]//$(dirname "$train")\//} -o DIR" | sed "s|$(dirname "$test")/||g"
    echo
    echo "| what | value |"
    echo "|---|---|"
    for f in "$model"/*.safetensors "$train" "$test"; do
        [ -f "$f" ] && echo "| $(basename "$f") | $(stat -Lc %s "$f") bytes, sha256 $(sum "$f")... |"
    done
    "$B/eqat" version | sed -n 's/^\(cpu\|cores\|instruction set\|compiler\|onednn\)  *\(.*\)/| \1 | \2 |/p'
    echo "| seed | $(sed -n 's/.*"seed": "\([0-9]*\)".*/\1/p' "$work/results.json") |"
    sed -n 's/.*"event":"data","for":"\([^"]*\)","windows":\([0-9]*\),"tokens_a_window":\([0-9]*\),"digest":"\([0-9a-f]*\)".*/| windows, \1 | \2 of \3 tokens, \4 |/p' \
        "$work"/*.jsonl | grep -v '| 0 of' | sort -u
    sed -n 's/^ *"windows": \([0-9]*\),*$/\1/p' "$work/results.json" | sort -u | sed 's/^/| windows of perplexity | /; s/$/ |/'
    echo
    # the table as markdown: columns are apart by two blanks or more
    awk '/^page:/ { next } { gsub(/  +/, " | "); print "| " $0 " |" } NR == 1 { gsub(/[^|]/, ""); gsub(/\|/, "|---"); print "|---" $0 "|" }' "$work.table" |
        sed '2s/.*/'"$(awk 'NR == 1 { n = gsub(/  +/, "&") + 1; s = "|"; while (n--) s = s "---|"; print s }' "$work.table")"'/'
    echo
    echo "ppl: perplexity; KL: mean divergence from the full-precision model on the same targets, nats; same top: share of"
    echo "targets where both find the same token likeliest; seconds: of making the model, from its log."
} >"results/$name.md"
echo "results/$name.md"
