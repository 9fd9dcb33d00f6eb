#!/bin/bash
# What a grid of zero points and steps costs: perplexity of rounding, Block-AP and both phases on each grid, at every
# bit width, for several seeds (which draw other windows for Block-AP). Prints a line for each run, then the
# means over the seeds with their standard deviation, and each grid's ratio to the first.
# usage: tools/grids.sh MODEL TRAIN TEST [BUILD]
# Grids of K types are taken at their bits where 256 divides the model's rows (tools/widen.py makes such models).
# GRIDS="free free:mse" sets ranges side by side (--range), too.
# By environment: GRIDS, BITS, SEEDS, GROUP; WINDOWS, SEQLEN, LIMIT; QUANT_LR, WEIGHT_LR, E2E_LR (at 2 bits; half
# of it at 3, a quarter at 4, where less is to be repaired); THREADS, PRECISION; METHOD=rtn leaves out Block-AP.
set -u
[ $# -ge 3 ] || { sed -n 's/^# usage: //p' "$0" >&2; exit 2; }
model=$1 train=$2 test=$3 eqat=${4:-build}/eqat
T=$(mktemp -d) || exit 1
trap 'rm -rf "$T"' EXIT
common=(--threads "${THREADS:-0}" --precision "${PRECISION:-f32}" -q)
run() { "$eqat" "$@" "${common[@]}" >"$T/out" 2>"$T/err" || { cat "$T/err" >&2; exit 1; }; }
ppl() { # folder -> $p
    run ppl "$1" --data "$test" --seqlen "${SEQLEN:-256}" --limit "${LIMIT:-100}" --json
    p=$(sed 's/.*"ppl":\([0-9.e+]*\).*/\1/' "$T/out")
}
rate() { awk -v at_two="$1" -v bits="$2" 'BEGIN { print at_two * 2 ^ (2 - bits) }'; }
one() { # bits grid seed
    local format=(--bits "$1" --group-size "${GROUP:-64}" --grid "${2%:*}")
    [[ $2 != *:* ]] || format+=(--range "${2#*:}")
    local size=(--data "$train" --seqlen "${SEQLEN:-256}" --train-size "${WINDOWS:-256}" --seed "$3")
    local steps=(); declare -A P=()
    run quantize "$model" -o "$T/rtn" "${format[@]}" --method rtn --no-e2e
    if [ "${METHOD:-}" != rtn ]; then
        run quantize "$model" -o "$T/ap" "${format[@]}" "${size[@]}" --val-size 4 --batch-size 4 --no-e2e \
            --quant-lr "$(rate "${QUANT_LR:-1e-3}" "$1")" --weight-lr "$(rate "${WEIGHT_LR:-2e-4}" "$1")"
        steps=(ap)
    fi
    run tune "$T/${steps[0]:-rtn}" -o "$T/both" "${size[@]::6}" --batch-size 8 --lr "$(rate "${E2E_LR:-2e-4}" "$1")"
    for m in rtn "${steps[@]}" both; do ppl "$T/$m"; P[$m]=$p; done
    rm -rf "$T/rtn" "$T/ap" "$T/both"
    echo "w$1 $2 seed $3: rounding ${P[rtn]}${P[ap]:+ Block-AP ${P[ap]}} both ${P[both]}"
    echo "$1 $2 ${P[rtn]} ${P[ap]:--} ${P[both]}" >>"$T/all"
}
fits() { "$eqat" quantize "$model" -o "$T/none" --bits "$1" --group-size "${GROUP:-64}" --grid "$2" --method rtn --no-e2e --dry-run -q >"$T/out" 2>&1; }
grids() { echo "${GRIDS:-free portable$(fits "$1" "q${1}_k" && echo " q${1}_k")}"; }
for b in ${BITS:-2 3 4}; do for s in ${SEEDS:-1 2 3}; do for g in $(grids "$b"); do
    one "$b" "$g" "$s"
done; done; done
awk '
    { key = $1 " " $2; if (!n[key]++) order[++keys] = key
      for (k = 3; k <= 5; k++) { sum[key, k] += $k; square[key, k] += $k * $k } }
    function cell(key, k, first) {
        if (sum[key, k] == 0) return "-"
        m = sum[key, k] / n[key]; v = square[key, k] / n[key] - m * m
        s = n[key] > 1 && v > 0 ? sqrt(v * n[key] / (n[key] - 1)) : 0
        return sprintf("%.3f +- %.3f%s", m, s, first == key ? "" : sprintf(" (x %.4f)", m / (sum[first, k] / n[first])))
    }
    END { print "\n| bits | grid | rounding | Block-AP | both |\n|---|---|---|---|---|"
        for (i = 1; i <= keys; i++) { split(order[i], f); if (!(f[1] in first)) first[f[1]] = order[i]
            printf "| w%s | %s | %s | %s | %s |\n", f[1], f[2], cell(order[i], 3, first[f[1]]),
                cell(order[i], 4, first[f[1]]), cell(order[i], 5, first[f[1]]) } }' "$T/all"
