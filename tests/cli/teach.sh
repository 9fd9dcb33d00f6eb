#!/bin/bash
# The second phase by a teacher and with free codes: through quantize and tune, the same bytes for other micro-batches
# and threads and after kills; memory as planned; which teacher is refused.
# usage: tests/cli/teach.sh BUILD
. "$(dirname "$0")/expect.bash"
cd "$TMP" || exit 1
tiny m
ids 4000 d.npy
ok() { cases=$((cases + 1)); run "$@"; [ $rc = 0 ] || fail "eqat $*" "exit $rc" "$err"; }
has() { cases=$((cases + 1)); grep -qE "$2" "$3" || fail "$1: no $2" "$(head -n 20 "$3")"; }
differ() { cases=$((cases + 1)); cmp -s "$2" "$3" && fail "$1"; }
e2e=(--e2e-train-size 32 --e2e-seqlen 32 --e2e-batch-size 4 --e2e-lr 1e-3)
q() { ok quantize m -o "$1" --method rtn --data d.npy --group-size 32 --save-every 1 -q "${e2e[@]}" "${@:2}"; }

q ce
q kl --e2e-loss kl --log kl.log
differ "the loss changes nothing" ce/model.safetensors kl/model.safetensors
has "the log" '"e2e_qp": *{.*"loss": *"kl"' kl.log
cases=$((cases + 1))
[ "$(grep -c '"e2e_step"' kl.log)" = 8 ] || fail "steps in the log" "$(tail -n 3 kl.log)"
awk -F'"loss": *' '/"e2e_step"/ { split($2, a, ","); if (!n++) first = a[1]; last = a[1] } END { exit !(first > 0 && last < first) }' kl.log ||
    fail "the divergence does not fall" "$(grep e2e_step kl.log)"

all=(--e2e-loss kl --e2e-train s,w,norm --e2e-weight-lr 1e-3)
q all "${all[@]}" --log all.log
q cut "${all[@]}" --e2e-micro-batch 3 --threads 1
same "other micro-batches and threads" all cut
differ "free codes are those of the start" kl/model.safetensors all/model.safetensors
for at in 0 3 7; do
    rm -rf cut cut.work
    hold '"e2e_step","step":'$at quantize m -o cut --method rtn --data d.npy --group-size 32 --save-every 1 -q "${e2e[@]}" "${all[@]}" --save-seconds 0
    kill_it
    q cut "${all[@]}" --resume
    same "killed behind step $at" all cut
done

# A rate of nearly nothing: codes, norms and steps stay what they were, whoever keeps them.
q still --e2e-loss kl --e2e-train s,z,w,norm --e2e-weight-lr 1e-30 --e2e-lr 1e-30
ok quantize m -o rtn --method rtn --group-size 32 --no-e2e -q
cases=$((cases + 1))
[ "$("$EQAT" ppl still --data d.npy --seqlen 32 --limit 8 --precision f32 --as-written -q --json | sed 's/"seconds.*//;s/"model[^,]*,//')" = \
    "$("$EQAT" ppl rtn --data d.npy --seqlen 32 --limit 8 --precision f32 --as-written -q --json | sed 's/"seconds.*//;s/"model[^,]*,//')" ] ||
    fail "a run that moves nothing changes the model" "$("$EQAT" ppl still --data d.npy --seqlen 32 --json)" "$("$EQAT" ppl rtn --data d.npy --seqlen 32 --json)"

# Both phases, and tune, whose teacher is the model that it came from.
ok quantize m -o both --data d.npy --group-size 32 "${SMALL[@]}" "${all[@]}"
tune=(tune rtn --data d.npy --train-size 32 --seqlen 32 --batch-size 4 --lr 1e-3 -q --save-every 1)
ok "${tune[@]}" --loss kl --teacher m -o tuned
same "tune and quantize" kl/model.safetensors tuned/model.safetensors
ok "${tune[@]}" --loss kl --train s,w,norm --weight-lr 1e-3 --teacher m -o tuned-all
same "tune and quantize, free codes" all/model.safetensors tuned-all/model.safetensors
ok "${tune[@]}" --train s,norm -o norms
differ "norms are not trained" norms/model.safetensors ce/model.safetensors

# Rates by a factor, and by the size of the weights, which a model ten times as large has ten times as large.
q twice --rate-scale 2 --e2e-lr 5e-4
same "a rate twice and a half" ce/model.safetensors twice/model.safetensors
q auto --rate-scale 0 --e2e-lr 1e-4
q explicit --rate-scale "$("$EQAT" quantize m -o none --method rtn --data d.npy --group-size 32 --rate-scale 0 --dry-run 2>&1 | grep -o 'rates x [0-9.e+-]*' | cut -d' ' -f3)" --e2e-lr 1e-4
cases=$((cases + 1))
awk -v a="$(strings auto/eqat.state | grep -o '\\*"lr\\*": *[0-9.e-]*' | head -n 1 | grep -o '[0-9.e-]*$')" -v b="$(strings explicit/eqat.state | grep -o '\\*"lr\\*": *[0-9.e-]*' | head -n 1 | grep -o '[0-9.e-]*$')" 'BEGIN { exit !(a > 0 && a < 1.01 * b && a > 0.99 * b) }' ||
    fail "rates by the model's weights" "$(strings auto/eqat.state | grep -o '.lr.*' | head -n 2)"

# The second run of two takes the first one's factor, though steps are no longer as long as ranges.
"$EQAT" quantize m -o shrunk --method rtn --range mse --group-size 32 --rate-scale 0 --no-e2e 2>first >/dev/null
"$EQAT" tune shrunk -o none --data d.npy --train-size 32 --seqlen 32 --rate-scale 0 --dry-run 2>second >/dev/null
cases=$((cases + 1))
[ "$(grep -o 'rates x.*' first)" = "$(grep -o 'rates x.*' second)" ] && grep -q 'rates x' first || fail "tune's rates are not those of quantize" "$(cat first second)"

# What was planned is what it took.
number() { grep -o "\"$1\": *[0-9]*" all.log | tail -n 1 | grep -o '[0-9]*$'; }
peak=$(grep -o '"phase": *"e2e-qp", *"seconds".*"host_peak_bytes": *[0-9]*' all.log | grep -o '[0-9]*$')
plan=$(number e2e_qp_memory_bytes)
cases=$((cases + 1))
[ "$peak" -le "$plan" ] && [ "$plan" -gt 1000000 ] || fail "memory: $peak, planned $plan"

refused() { expect_match "$@" -o none; [ ! -e none ] && [ ! -e none.work ] || fail "something was left"; }
refused 1 'eqat: rtn: the loss kl needs the predictions of the full-precision model: give --teacher' "${tune[@]}" --loss kl
refused 1 'eqat: rtn: training weights needs those of the full-precision model: give --teacher' "${tune[@]}" --train w
refused 1 'eqat: kl: expected a full-precision model as teacher, found 2-bit weights' "${tune[@]}" --loss kl --teacher kl
tiny other --seed 9
refused 1 'eqat: other: expected the model that rtn was quantized from, found another .*' "${tune[@]}" --loss kl --teacher other
tiny more --layers 3
refused 1 'eqat: more: blocks: expected 2 as in rtn, found 3' "${tune[@]}" --loss kl --teacher more
refused 2 'eqat: tune: --teacher has no effect without --loss kl or w in --train .*' "${tune[@]}" --teacher m
refused 2 'eqat: tune: --weight-lr has no effect when --train names neither w nor norm .*' "${tune[@]}" --weight-lr 1e-3
refused 2 'eqat: quantize: --e2e-weight-lr has no effect when --e2e-train names neither w nor norm .*' quantize m --data d.npy --e2e-weight-lr 1e-3
hold '"e2e_step","step":2' "${tune[@]}" --loss kl --teacher m -o half; kill_it
cp -r m again; sed -i 's/"rms_norm_eps": *[0-9e.-]*/"rms_norm_eps": 0.002/' again/config.json
expect_match 1 'eqat: half\.work/run\.json: cannot resume: data\.teacher is .*' "${tune[@]}" --loss kl --teacher again -o half --resume
finish
