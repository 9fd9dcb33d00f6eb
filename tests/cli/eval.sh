#!/bin/bash
# eval: the same numbers for any number of threads and any size of a batch, for full precision and packed
# models; the layout of its results; files and names that are refused.
# usage: tests/cli/eval.sh BUILD
. "$(dirname "$0")/expect.bash"
cd "$TMP" || exit 1
"$MAKE_MODEL" m --hidden 64 --inner 96 --layers 2 --heads 4 --kv-heads 2 --vocab 300 --context 512 2>/dev/null ||
    { echo "make-model failed"; exit 1; }
mkdir -p t/piqa t/winogrande t/hellaswag t/arc t/lambada t/mmlu/test t/mmlu/dev
for i in 0 1 2 3 4 5 6 7 8 9; do
    echo "{\"goal\": \"Make $i things\", \"sol1\": \"take $i and more of it\", \"sol2\": \"do not\"}"
done >t/piqa/valid.jsonl
printf '%s\n' 0 1 0 1 0 1 0 1 0 1 >t/piqa/valid-labels.lst
for i in 1 2; do
    echo "{\"sentence\": \"Ann saw Bob and _ ran off $i.\", \"option1\": \"Ann\", \"option2\": \"Bob\", \"answer\": \"$i\"}"
done >t/winogrande/dev.jsonl
echo '{"query": "Tea: one", "endings": ["a b", "c", "d e f", "g"], "label": 2}' >t/hellaswag/validation.jsonl
for f in Easy Challenge; do
    echo '{"question": {"stem": "Why?", "choices": [{"text": "so", "label": "A"}, {"text": "no", "label": "B"}]}, "answerKey": "B"}' \
        >t/arc/ARC-$f-Test.jsonl
done
printf '{"text": "He said yes"}\n{"text": "She said no"}\n' >t/lambada/lambada_openai.jsonl
printf 'Two?,1,2,3,4,B\nThree?,1,2,3,4,C\n' >t/mmlu/dev/anatomy_dev.csv
printf 'Four?,1,2,3,4,D\n"One, or?",1,2,3,4,A\nNone?,"0",2,3,4,A\n' >t/mmlu/test/anatomy_test.csv

# eval_to FILE ARGS...: the results without what depends on the clock, and the samples beside.
eval_to() {
    local to=$1; shift
    run eval m --task-data t --samples "$to.samples" --json -q "$@"
    [ "$rc" = 0 ] || fail "eval $*" "$err"
    sed -E 's/,"total_evaluation_time_seconds":"[^"]*"//; s/,"seconds":[^}]*//' <<<"$out" >"$to"
}
all=paper,lambada,mmlu_anatomy
eval_to one --tasks $all --num-fewshot 2 --threads 1
eval_to two --tasks $all --num-fewshot 2 --threads 2
same "threads 1 and 2" one two
same "samples with threads 1 and 2" one.samples two.samples
cases=$((cases + 1))
[ "$(wc -l <one.samples)" = 20 ] || fail "samples: one line an item" "$(wc -l <one.samples)"

# Small batches: other products, so other last bits; the same scores to 1e-4 and the same answers.
eval_to small --tasks $all --num-fewshot 2 --batch-tokens 60
cases=$((cases + 1))
near() { paste -d' ' <(grep -o '"resps":\[[^]]*\]' "$1" | tr -dc '0-9.,\n-' | tr ',' '\n') \
    <(grep -o '"resps":\[[^]]*\]' "$2" | tr -dc '0-9.,\n-' | tr ',' '\n') |
    awk -v most="$3" '{ d = $1 - $2; if (d < 0) d = -d; if (d > most) bad++; n++ } END { exit bad || n < 40 }'; }
near one.samples small.samples 0.05 || fail "another size of the batch gives other scores"
eval_to f32 --tasks $all --num-fewshot 2 --precision f32
eval_to f32small --tasks $all --num-fewshot 2 --precision f32 --batch-tokens 60
cases=$((cases + 1))
near f32.samples f32small.samples 1e-4 || fail "another size of the batch gives other scores in fp32"

# A key of each part of the layout; groups; the mean of the five.
cases=$((cases + 1))
for key in '"results":{' '"groups":{' '"n-shot":{' '"n-samples":{' '"higher_is_better":{' '"versions":{' \
    '"mmlu_anatomy":{"name":"mmlu_anatomy","alias":"anatomy","sample_len":3' '"acc_stderr,none":' '"paper":{' \
    '"perplexity,none":' '"piqa":{"original":10,"effective":10}' '"harness":"0.4.9.2"'; do
    grep -qF "$key" one || fail "results without $key" "$(cut -c1-400 one)"
done
eval_to few --tasks piqa --limit 4
cases=$((cases + 1))
grep -qF '"piqa":{"original":10,"effective":4}' few || fail "--limit" "$(cat few)"

# People's table: names the harness, the BOS, the precision.
cases=$((cases + 1))
run eval m --tasks piqa --task-data t --harness 0.4.2 --precision f32 -q
[[ $rc = 0 && $out == task* && $out == *$'\npiqa '*"10      0  "*"as lm-evaluation-harness 0.4.2 (no BOS), f32, full precision, "* ]] ||
    fail "the table" "$out" "$err"

# A packed model, with its trained steps and as others read them.
run quantize m --method rtn --no-e2e -o q --group-size 32 -q
cases=$((cases + 1))
run eval q --tasks piqa --task-data t -q
[[ $rc = 0 && $out == *"steps"* ]] || fail "eval of a packed model" "$out" "$err"

# What is refused, with nothing left behind.
no() { local regex=$1; shift; expect_match 1 "eqat: $regex" eval m --task-data t "$@"; }
no 'tasks: unknown task "piqua"; did you mean piqa\?' --tasks piqua
no 'tasks: unknown task "chess"; there are winogrande, .*' --tasks piqa,chess
no 'tasks: expected each once, found piqa again' --tasks piqa,paper,piqa
no "t/mmlu: expected test/abstract_algebra_test.csv in it, found none" --tasks mmlu_stem
no 'x: expected the rows of piqa, found no such file' --tasks piqa=x
no 'anatomy: expected 3 examples, found 2: lower the few-shot count' --tasks mmlu_anatomy --num-fewshot 3
echo 0 >t/piqa/valid-labels.lst
no 't/piqa/valid.jsonl: line 2: expected a label for every row, found 1' --tasks piqa --samples left
no 'samples: expected a file outside of the model m, found m/config.json' --tasks winogrande --samples m/config.json
no 'samples: expected another file than t/winogrande/dev.jsonl, which task winogrande is read from' --tasks winogrande --samples t/winogrande/dev.jsonl
expect_match 2 'eqat: eval: --num-fewshot has no effect without mmlu among the tasks.*' eval m --tasks piqa --num-fewshot 5
expect 2 "" "eqat: eval: no tasks given: --tasks LIST (eqat help eval)" eval m
printf '{"goal": "%s", "sol1": "a", "sol2": "%s", "label": 0}\n' x "$(printf 'b%.0s' {1..600})" >long.jsonl
no 'long.jsonl: line 1: choice 2: expected at most 512 tokens, the model.s context, found .*' --tasks piqa=long.jsonl
cases=$((cases + 1))
[ ! -e left ] && ! ls left.tmp* >/dev/null 2>&1 || fail "a refused call left its samples"
finish
