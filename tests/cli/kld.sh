#!/bin/bash
# kld: the same figures for any number of threads and batches in fp32 to 1e-6; what is refused.
# usage: tests/cli/kld.sh BUILD
. "$(dirname "$0")/expect.bash"
cd "$TMP" || exit 1
tiny m
tiny other --seed 3
tiny wide --vocab 80
ids 900 d.npy
figures() { run kld "$@" --reference m --data d.npy --seqlen 32 --json -q; sed -E 's/,"seconds":[^,]*//' <<<"$out"; }
figures other --threads 1 >one
figures other --threads 2 >two
same "threads 1 and 2" one two
cases=$((cases + 1))
for key in kl_mean kl_median kl_p90 kl_p99 kl_p99.9 kl_max same_top rms_dp mean_dp ppl ppl_reference ppl_ratio \
    ppl_ratio_stderr; do
    grep -q "\"$key\":[0-9-]" one || fail "no $key" "$(cat one)"
done
run kld m --reference m --data d.npy --seqlen 32 -q
cases=$((cases + 1))
[[ $rc = 0 && $out == *"KL divergence, mean"*" 0"$'\n'*"same likeliest token, share"*" 1"$'\n'*"protocol windows, full precision"* ]] ||
    fail "a model from itself" "$out" "$err"
no() { local regex=$1; shift; expect_match 1 "eqat: $regex" kld "$@"; }
no 'wide: expected the vocabulary of m, [0-9]*, found 80' wide --reference m --data d.npy
no '.*gone.*' m --reference gone --data d.npy
expect 2 "" "eqat: kld: nothing to compare with: --reference MODEL (eqat help kld)" kld m --data d.npy
expect 2 "" "eqat: kld: no text given: --data, --wikitext2 or --c4 FILE (eqat help kld)" kld m --reference m
finish
