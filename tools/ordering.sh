#!/bin/bash
# The order that quantization must keep on a real model, at every bit width and group:
#   w4 < w3 < w2 for rounding, Block-AP and both phases alike
#   both phases < Block-AP < rounding to nearest, at 2 bits
#   full precision < w4 for rounding and Block-AP, which imitates it; E2E-QP trains on the text itself
#   and may well end below
# Prints perplexities as a table and every pair that is out of order; exit 1 if there is one.
# usage: tools/ordering.sh MODEL TRAIN TEST [BUILD]
# By environment: WINDOWS, SEQLEN, LIMIT; QUANT_LR, WEIGHT_LR, E2E_LR (at 2 bits; half of it at 3, a
# quarter at 4, where less is to be repaired); BITS, GROUP_SIZES, THREADS.
set -u
[ $# -ge 3 ] || { sed -n 's/^# usage: //p' "$0" >&2; exit 2; }
model=$1 train=$2 test=$3 eqat=${4:-build}/eqat
T=$(mktemp -d) || exit 1
trap 'rm -rf "$T"' EXIT
common=(--threads "${THREADS:-0}" -q)
declare -A P
wrong=0
run() { "$eqat" "$@" "${common[@]}" >"$T/out" 2>"$T/err" || { cat "$T/err" >&2; exit 1; }; }
ppl() { # name of the figure, folder
    run ppl "$2" --data "$test" --seqlen "${SEQLEN:-256}" --limit "${LIMIT:-100}" --json
    P[$1]=$(sed 's/.*"ppl":\([0-9.e+]*\).*/\1/' "$T/out")
}
below() { # two figures: the first must be lower; what was not measured is not looked at
    local a=${P[$1]-} b=${P[$2]-}
    [ -z "$a" ] || [ -z "$b" ] || awk -v a="$a" -v b="$b" 'BEGIN { exit !(a < b) }' && return
    echo "out of order: $1 ($a) is not below $2 ($b)"
    wrong=1
}
rate() { awk -v at_two="$1" -v bits="$2" 'BEGIN { print at_two * 2 ^ (2 - bits) }'; }
one() { # bits group
    local w=w$1g$2 format=(--bits "$1" --group-size "$2")
    local size=(--data "$train" --seqlen "${SEQLEN:-256}" --train-size "${WINDOWS:-256}")
    run quantize "$model" -o "$T/rtn" "${format[@]}" --method rtn --no-e2e
    run quantize "$model" -o "$T/ap" "${format[@]}" "${size[@]}" --val-size 8 --batch-size 4 --no-e2e \
        --quant-lr "$(rate "${QUANT_LR:-1e-3}" "$1")" --weight-lr "$(rate "${WEIGHT_LR:-2e-4}" "$1")"
    run tune "$T/ap" -o "$T/both" "${size[@]}" --batch-size 8 --lr "$(rate "${E2E_LR:-2e-4}" "$1")"
    for m in rtn ap both; do ppl "$w $m" "$T/$m"; done
    rm -rf "$T/rtn" "$T/ap" "$T/both"
    printf '| w%s | %3s | %9.2f | %9.2f | %9.2f |\n' "$1" "$2" "${P[$w rtn]}" "${P[$w ap]}" "${P[$w both]}"
}
ppl fp "$model"
printf 'full precision: %.2f\n\n| bits | group | rounding | Block-AP | both |\n|---|---|---|---|---|\n' "${P[fp]}"
groups=${GROUP_SIZES:-32 64 128 -1}
for b in ${BITS:-2 3 4}; do for g in $groups; do one "$b" "$g"; done; done
for g in $groups; do
    for m in rtn ap both; do
        [ $m = both ] || below fp "w4g$g $m"
        below "w4g$g $m" "w3g$g $m"
        below "w3g$g $m" "w2g$g $m"
    done
    below "w2g$g ap" "w2g$g rtn"
    below "w2g$g both" "w2g$g ap"
done
[ $wrong = 0 ] && echo "in order"
exit $wrong
