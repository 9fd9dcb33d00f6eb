#!/bin/bash
# plan says what quantize would do: the same refusals, a memory figure that is not exceeded and not far off,
# free disk; exit 1 when the run would be refused. The same count holds in quantize, before the first step.
# usage: tests/cli/plan.sh BUILD
. "$(dirname "$0")/expect.bash"
cd "$TMP" || exit 1
ids 20000 d.npy
"$MAKE_MODEL" m --family llama --hidden 256 --inner 512 --layers 2 --heads 4 --kv-heads 2 --vocab 2000 --context 512 --dtype bf16 >/dev/null
opts=(--data d.npy --train-size 8 --val-size 2 --seqlen 256 --epochs 1 --e2e-train-size 8 --e2e-seqlen 512 --e2e-batch-size 8 --threads 2)
value() { sed -n "s/.*\"$1\": *\([0-9.e+-]*\|true\|false\|null\),*/\1/p" "$TMP/.out" | head -n 1; }

run plan m "${opts[@]}" -o out --json
cases=$((cases + 3))
[ "$rc" = 0 ] && [ -z "$err" ] && [ "$(value fits)" = true ] && [ "$(value refused)" = null ] || fail "a run that fits" "exit $rc" "$err" "$out"
[ "$(value output_free_bytes)" -gt 0 ] && [ "$(value work_free_bytes)" -gt 0 ] || fail "free disk" "$out"
memory=$(value memory_bytes)
said=$(value output_bytes)
[ ! -e out ] && [ ! -e out.work ] || fail "plan wrote something"

# what happens: the high-water mark of memory in the log, the size of the output
run quantize m "${opts[@]}" -o out -q --log log
[ "$rc" = 0 ] || fail "the run" "$err"
peak=$(sed -n 's/.*"memory_peak_bytes":\([0-9]*\).*/\1/p' log | sort -n | tail -n 1)
wrote=$(du -bc out/* | tail -n 1 | cut -f 1)
cases=$((cases + 2))
case $B in
*san*) echo "SKIP memory under a sanitizer is not what plan counts" ;;
*) [ "$peak" -le "$memory" ] && [ $((memory * 4)) -le $((peak * 5)) ] || fail "memory: planned $memory, happened $peak" ;;
esac
[ $((said * 10)) -ge $((wrote * 9)) ] && [ $((said * 10)) -le $((wrote * 11)) ] || fail "output: planned $said, wrote $wrote"
grep -q "\"plan\":{\"memory_bytes\":$memory," log || fail "the plan in the log" "$(head -n 1 log | cut -c1-900)"

# a tokenizer of many tokens has left nothing behind when the training begins: plan counts none
"$MAKE_MODEL" big --family llama --hidden 64 --inner 128 --layers 1 --heads 2 --kv-heads 1 --vocab 60000 --context 512 --dtype bf16 >/dev/null
seq 20000 >t.txt
run quantize big --data t.txt --train-size 8 --val-size 2 --seqlen 32 --epochs 1 --no-e2e -o big-out -q --log big.log
cases=$((cases + 1))
begin=$(sed -n '1s/.*"memory_bytes":\([0-9]*\),"memory_peak_bytes".*/\1/p' big.log)
case $B in
*san*) ;;
*) [ "$rc" = 0 ] && [ "$begin" -lt 5000000 ] || fail "memory when the training begins: $begin" "$err" ;;
esac

# refused by both, in the same words, before the first step; the advice can be followed
limit=$((memory - 1000000))
for command in plan quantize 'quantize --dry-run'; do
    run $command m "${opts[@]}" -o new --memory-limit $limit -q
    cases=$((cases + 1))
    [ "$rc" = 1 ] && [[ $err =~ ^eqat:\ .*E2E-QP\ needs\ .*\ GiB,\ the\ limit\ is\ .*\ GiB:\ lower\ --e2e-micro-batch ]] ||
        fail "$command beyond the limit" "exit $rc" "$err"
    [ ! -e new ] && [ ! -e new.work ] || fail "$command left something"
done
run plan m "${opts[@]}" -o new --memory-limit $limit -q --json
cases=$((cases + 2))
[ "$rc" = 1 ] && [ "$(value fits)" = false ] && grep -q '"refused": "E2E-QP needs' "$TMP/.out" || fail "the verdict" "$out"
run plan m "${opts[@]}" -o new --memory-limit $limit --e2e-micro-batch 4
[ "$rc" = 0 ] || fail "the advice followed" "$err"
expect_match 1 'eqat: .*Block-AP for one block needs .*: lower --batch-size or --seqlen' quantize m "${opts[@]}" -o new --memory-limit 9M -q
run plan m "${opts[@]}" -o out # there is something in it
cases=$((cases + 1))
[ "$rc" = 1 ] && [[ $err == "eqat: plan: quantize would refuse this: out: "* ]] || fail "an output that is there" "$err"
run plan m --method rtn
cases=$((cases + 1))
[ "$rc" = 0 ] && [[ $out != *block\ ap* ]] && [[ $out != *e2e* ]] || fail "rounding alone" "$out$err"

# --to: what quantize --to refuses, in the same words; a folder with config.json alone will do, and any output
rm m/model.safetensors
to() { # LINE ARGS...
    local line=$1; shift
    for command in plan 'quantize --data d.npy'; do
        run $command m --group-size 64 -o new -q "$@"
        cases=$((cases + 1))
        [ "$rc" = 1 ] && [[ $err == eqat:*"$line" ]] || fail "$command $*" "exit $rc" "$err"
    done
}
to 'mlx holds zero points in the middle of the codes, which --grid portable trains' --to mlx
to 'awq cannot hold it: AWQ holds 4 bits' --to awq --bits 2
run plan m --to mlx --bits 4 --json # no output named
cases=$((cases + 3))
[ "$rc" = 1 ] && [ "$(value fits)" = false ] && grep -q '"refused": "m: mlx holds' "$TMP/.out" || fail "the verdict of --to" "$out"
run plan m --to mlx --bits 4 --grid portable
[ "$rc" = 0 ] || fail "a format that holds it" "$err"
run plan m --to gguf --bits 4 --grid q4_k
[ "$rc" = 0 ] || fail "gguf of q4_k" "$err"
[ ! -e new ] && [ ! -e new-mlx ] || fail "plan --to wrote something"
finish
