#!/bin/bash
# Instruction tuning: rows of both kinds through quantize and tune; the same bytes for other micro-batches, threads and
# after a kill; held-out loss; text among them; what is refused.
# usage: tests/cli/instruct.sh BUILD
. "$(dirname "$0")/expect.bash"
cd "$TMP" || exit 1
tiny m --context 400
{ echo '['; for i in $(seq 30); do
    echo '{"instruction": "count to '"$i"'", "input": "'"$([ $((i % 3)) = 0 ] && echo from 1)"'", "output": "'"$(seq $((i % 9 + 1)) | tr '\n' ' ')"'"},'
done; echo '{"instruction": "end", "output": "0"}]'; } >rows.json
for i in $(seq 12); do
    echo '{"messages": [{"role": "user", "content": "'"$i"'?"}, {"role": "assistant", "content": "'"$((i * i))"'"}, {"role": "user", "content": "and?"}, {"role": "assistant", "content": "no"}]}'
done >chats.jsonl
for i in $(seq 60); do echo '{"text": "'"$(seq $i $((i + 40)) | tr '\n' ' ')"'"}'; done >text.jsonl
fits=(--source-limit 300 --target-limit 28 --chat-template chatml)
ok() { cases=$((cases + 1)); run "$@"; [ $rc = 0 ] || fail "eqat $*" "exit $rc" "$err"; }
has() { cases=$((cases + 1)); grep -qE "$2" "$3" || fail "$1: no $2" "$(head -n 20 "$3")"; }

# ---- alone, from round-to-nearest and from a checkpoint
ok quantize m --method rtn --instruct rows.json --e2e-max-steps 4 --e2e-batch-size 4 -o rtn -q --log rtn.log
has "the log" '"event": *"data".*"for": *"e2e-qp".*"rows.json"' rtn.log
args=(tune rtn --instruct chats.jsonl --instruct rows.json --instruct-val chats.jsonl --eval-every 2 --max-steps 6 --batch-size 4
    --lr 0.001 --train s,z --save-every 1 -q "${fits[@]}")
ok "${args[@]}" -o whole --log whole.log
has "held-out loss" '"event": *"held_out".*"step": *6' whole.log
has "the best" '"event": *"best"' whole.log
ok "${args[@]}" -o other --micro-batch 1 --threads 1
same "other micro-batches and threads" whole other
for at in 0 2 5; do
    rm -rf out out.work
    hold '"e2e_step","step":'$at "${args[@]}" -o out --save-seconds 0; kill_it
    ok "${args[@]}" -o out --resume
    same "killed behind step $at" whole out
done
rm -rf out
hold '"held_out","step":4' "${args[@]}" -o out; kill_it
cp chats.jsonl keep; sed -i 's/no"/on"/' chats.jsonl
expect_match 1 'eqat: out\.work/run\.json: cannot resume: data\.e2e_files\.chats\.jsonl\.sum .*' "${args[@]}" -o out --resume
mv keep chats.jsonl; ok "${args[@]}" -o out --resume; same "killed behind a look" whole out
tail -c 100 out/model.safetensors >/dev/null
hold '"held_out","step":4' "${args[@]}" -o again; kill_it
for f in again.work/*.best; do printf x | dd of="$f" bs=1 seek=40 conv=notrunc status=none; done
ok "${args[@]}" -o again --resume; same "a damaged best state" whole again

# ---- text among rows, packed rows, everything learned
ok tune rtn --data text.jsonl:1 --instruct rows.json:3 --seqlen 300 --train-size 16 --batch-size 4 -o mixed -q
ok tune rtn --instruct rows.json --pack --seqlen 32 --batch-size 4 -o packed -q
ok tune rtn --instruct rows.json --train-on-prompt --max-steps 2 --batch-size 4 -o all -q
ok tune rtn --instruct rows.json --max-steps 2 --batch-size 4 -o answers -q
cases=$((cases + 1)); cmp -s all/model.safetensors answers/model.safetensors && fail "--train-on-prompt changes nothing"
ok tune rtn --instruct - --max-steps 2 --batch-size 4 -o stdin -q <rows.json
same "standard input" answers stdin
ok quantize m --method rtn --instruct rows.json --dry-run -o dry -q
ok plan m --method rtn --instruct rows.json --e2e-max-steps 100

# ---- refused
refused() { expect_match "$@" -o none -q; [ ! -e none ] && [ ! -e none.work ] || fail "something was left"; }
refused 1 'eqat: rows\.json: of 31 rows nothing that is learned is left within 100 tokens .*' tune rtn --instruct rows.json --seqlen 100
refused 1 'eqat: chats\.jsonl: line 1: a chat needs a template \(--chat-template\): .*' tune rtn --instruct chats.jsonl
refused 1 'eqat: no chat template is called "chatnl": .*chatml.*' tune rtn --instruct chats.jsonl --chat-template chatnl
refused 1 'eqat: text and instruction rows together: expected a weight for each, .*' tune rtn --data text.jsonl --instruct rows.json
refused 1 'eqat: text\.jsonl: line 1: expected "instruction" and "output" \(Alpaca\), .*' tune rtn --instruct text.jsonl
sed '3s/"output": "[^"]*"/"output": ""/' rows.json >empty.json
refused 1 'eqat: empty\.json: element 2 \(line 3\): "output": an empty answer' tune rtn --instruct empty.json
sed 's/"assistant"/"asistant"/' chats.jsonl >role.jsonl
refused 1 'eqat: role\.jsonl: line 1: turn 2: expected a role .*"asistant"' tune rtn --instruct role.jsonl "${fits[@]}"
refused 2 'eqat: tune: --eval-every has no effect without --instruct-val .*' tune rtn --instruct rows.json --eval-every 3
refused 2 'eqat: tune: --source-limit has no effect without --instruct .*' tune rtn --data text.jsonl --source-limit 3
ok tune rtn --instruct empty.json --skip-bad --max-steps 1 --batch-size 4 -o skipped
grep -q '1 rows passed over (--skip-bad), the first: empty.json: element 2' .err || fail "what was passed over" "$err"
finish
