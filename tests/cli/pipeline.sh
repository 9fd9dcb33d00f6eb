#!/bin/bash
# Whole tiny runs: both phases, every bit width and group, threads, streams on disk, the log, tune.
# usage: tests/cli/pipeline.sh BUILD
. "$(dirname "$0")/expect.bash"
cd "$TMP" || exit 1
ids 20000 d.npy
tiny m
ok() { cases=$((cases + 1)); run "$@"; [ "$rc" = 0 ] || fail "eqat $*" "exit $rc" "$err"; }
has() { # what, file, regex...
    local what=$1 file=$2 r; shift 2
    for r in "$@"; do
        cases=$((cases + 1))
        grep -qE "$r" "$file" || fail "$what: no $r" "$(head -n 3 "$file")"
    done
}

# one command, both phases; the same bytes for any number of threads and for streams in files
for precision in f32 bf16; do
    ok quantize m --data d.npy -o one "${SMALL[@]}" --precision $precision --threads 1 --log log --json
    printf '%s\n' "$out" >json
    has "json of quantize" json '"out":"one"' '"bits_per_weight":2\.28125[,}]' '"bytes":[0-9]+' '"seconds_e2e":'
    ok quantize m --data d.npy -o two "${SMALL[@]}" --precision $precision --threads 2
    same "threads 1 and 2, $precision" one two
    mkdir -p cache
    ok quantize m --data d.npy -o disk "${SMALL[@]}" --precision $precision --cache-dir cache
    same "streams in memory and in files, $precision" one disk
    same "the cache folder is empty again" cache "$(mkdir -p none && echo none)"
    [ ! -e one.work ] && [ ! -e two.work ] || fail "a finished run left its work folder"
    rm -rf one two disk
done
# 24 windows at batch 2 are 12 steps; 2 blocks x 2 epochs; 32 windows at batch 4 are 8 steps
has "log" log '^\{"event":"block_epoch","block":0,"epoch":0,"first_loss":[0-9.e+-]+,"train_loss":[0-9.e+-]+,.*"val_loss":[0-9.e+-]+,"val_share":' \
    '"event":"e2e_step","step":0,"loss":[0-9.]+,"grad_norm":'
for count in 'block_epoch:4' 'e2e_step:8'; do
    cases=$((cases + 1))
    n=$(grep -c "\"event\":\"${count%:*}\"" log)
    [ "$n" = "${count#*:}" ] || fail "log: $n events ${count%:*}, expected ${count#*:}"
done

# every bit width and group, and what inspect says of them
tiny wide --hidden 256 --inner 512
for bits in 2 3 4; do
    for group in 32 64 128 256 -1; do
        rm -rf q
        ok quantize wide --method rtn --bits $bits --group-size $group -o q -q
        ok inspect q --json
        printf '%s\n' "$out" >json
        has "inspect w${bits}g$group" json "\"bits\": *$bits" "\"group_size\": *$group"
        ok ppl q --data d.npy --seqlen 32 --limit 4 --json -q
        printf '%s\n' "$out" >json
        has "ppl w${bits}g$group" json '"ppl":[0-9.]+' '"protocol":"windows"' '"steps":"fp32"' '"windows":4' '"seqlen":32' '"targets":124'
    done
done

# the paper's rates for the bits
for rates in '2 2e-05' '3 1e-05' '4 1e-05'; do
    set -- $rates
    rm -rf r
    ok quantize m --data d.npy -o r --bits $1 --train-size 4 --val-size 0 --seqlen 32 --epochs 1 --e2e-train-size 4 \
        --e2e-seqlen 32 --e2e-batch-size 1 --log r.log -q
    has "rates at $1 bits" r.log "\"block_step\",\"block\":0,\"step\":0,.*\"quant_lr\":0\.0001,\"weight_lr\":$2," \
        "\"e2e_step\",\"step\":0,.*\"lr\":$2"
done

# --scheme is both at once, --no-e2e plus tune is both phases, s is not the only thing to train
ok quantize m --method rtn --scheme W3A16G128 -o a -q
ok quantize m --method rtn --bits 3 --group-size 128 -o b -q
same "--scheme" a b
ok quantize m --data d.npy -o ap "${SMALL[@]::8}" -q --no-e2e
ok tune ap --data d.npy -o tuned --train-size 32 --seqlen 32 --batch-size 4 --save-every 1 -q
ok tune ap --data d.npy -o tuned-z --train-size 32 --seqlen 32 --batch-size 4 --train s,z -q
ok quantize m --data d.npy -o both "${SMALL[@]}"
cases=$((cases + 1))
data() { tail -c +$((9 + $(od -An -tu8 -N8 "$1"))) "$1" | md5sum; } # of a safetensors file: all but its header
for f in both/*; do # the recipe, in the header of the state, says which command it was
    cmp -s "$f" "tuned/${f#both/}" && continue
    [ "$f" = both/eqat.sums ] && diff <(grep -v eqat.state both/eqat.sums) <(grep -v eqat.state tuned/eqat.sums) && continue
    [ "$f" = both/eqat.state ] && [ "$(data "$f")" = "$(data "tuned/${f#both/}")" ] ||
        fail "one command is not quantize and tune" "$f"
done
[ "$(ls both)" = "$(ls tuned)" ] || fail "one command and two write other files" "$(ls both tuned)"
ok tune tuned --data d.npy -o again --train-size 32 --seqlen 32 --batch-size 4 -q
cases=$((cases + 1))
diff -q ap/model.safetensors tuned/model.safetensors >/dev/null && fail "tune changed nothing"

# linears that differ, and a model that GPTQ's words cannot hold
ok quantize m --data d.npy -o schemes "${SMALL[@]}" --scheme w2g64,down_proj=w4g32,layers.1.mlp.up_proj=w3g128 --json
printf '%s\n' "$out" >json
ok inspect schemes --json
printf '%s\n' "$out" >json
has "inspect of schemes" json '"scheme": "w2g64,1\.mlp\.up_proj=w3g128,mlp\.down_proj=w4g32"' '"grid": "free"'
has "dynamic" schemes/config.json '"\+:\^model\\\\\.layers\\\\\.\(\[0-9\]\+\)\\\\\.mlp\\\\\.down_proj\$"'
ok tune schemes --data d.npy -o schemes-tuned --train-size 8 --seqlen 32 --batch-size 4 --train s,z -q
ok ppl schemes-tuned --data d.npy --seqlen 32 --limit 4 --json -q
tiny odd --hidden 64 --inner 172 --heads 4 --kv-heads 2
ok quantize odd --data d.npy -o odd-w2 "${SMALL[@]::${#SMALL[@]}-1}" --scheme w2g64,down_proj=w3g-1 --grid portable
printf '%s\n' "$err" >note
has "a model that GPTQ cannot hold" note 'down_proj|gate_proj' 'eqat.s own packing'
ok inspect odd-w2 --json
printf '%s\n' "$out" >json
has "inspect of it" json '"format": "eqat"' '"grid": "portable"'
ok tune odd-w2 --data d.npy -o odd-tuned --train-size 8 --seqlen 32 --batch-size 4 -q
ok ppl odd-tuned --data d.npy --seqlen 32 --limit 4 --json -q

# trace: says where the time went
ok ppl m --data d.npy --seqlen 32 --limit 4 --backend trace:cpu
printf '%s\n' "$err" >trace
has "trace:cpu" trace '^ *operation +calls +seconds' 'matmul_nt +[1-9]' 'cross_entropy +[1-9]'

# a dry run writes nothing
before=$(ls -A)
ok quantize m --data d.npy -o dry "${SMALL[@]}" --dry-run --log dry.log
cases=$((cases + 1))
[ "$before" = "$(ls -A)" ] || fail "a dry run wrote something" "$(ls -A)"

# plan takes the command line of quantize; rows of a 2-D .npy are windows in their order
ok plan m --data d.npy -o out "${SMALL[@]}" --json
printf '%s\n' "$out" >json
has "json of plan" json '"memory_bytes"' '"seconds"' '"output_bytes"'
ids 640 rows.npy 20
ok ppl m --data rows.npy --json -q
printf '%s\n' "$out" >json
has "rows as windows" json '"windows":20' '"seqlen":32'

# the same windows from a text and from its compressed form; the protocols by name
for i in $(seq 200); do echo '{"text": "'$(seq $i $((i + 60)) | tr '\n' ' ')'"}'; done >t.jsonl
gzip -k t.jsonl
ok quantize m --data t.jsonl -o from-text "${SMALL[@]}"
ok quantize m --data t.jsonl.gz -o from-gzip "${SMALL[@]}"
same "text and gzip" from-text from-gzip
seq 3000 >t.txt
ok quantize m --data t.txt --val-data t.jsonl --e2e-data t.jsonl.gz -o mixed "${SMALL[@]}"
for protocol in 'data t.txt windows' 'wikitext2 t.txt wikitext2' 'c4 t.jsonl c4'; do
    set -- $protocol
    ok ppl m --$1 $2 --seqlen 32 --limit 8 --json -q
    printf '%s\n' "$out" >json
    has "ppl --$1" json '"ppl":[0-9.]+' "\"protocol\":\"$3\"" '"windows":8' '"steps":null'
done

# A trained zero point is a real number: ppl has it, GPTQ tensors and ppl --as-written have it rounded.
number() { grep -oE "\"$1\":[^,}]+" <<<"$out"; }
ok quantize m --data d.npy -o no-z "${SMALL[@]::8}" -q --no-e2e
ok quantize m --data d.npy -o real-z "${SMALL[@]}" --e2e-train z --e2e-lr 1e-3 --log z.log
ok ppl no-z --data d.npy --seqlen 32 --limit 4 --json -q
start=$(number ppl)
ok ppl real-z --data d.npy --seqlen 32 --limit 4 --json -q
trained=$(number ppl)
ok ppl real-z --data d.npy --seqlen 32 --limit 4 --json -q --as-written
written=$(number ppl)
cases=$((cases + 2))
[ "$trained" != "$start" ] || fail "trained zero points change nothing" "$trained"
[ "$written" = "$start" ] || fail "zero points as written" "$written, not $start"
has "zero points" z.log '"event":"zero_points","real":[1-9][0-9]*,"of":[0-9]+,"off":0.0'
cmp -s no-z/model.safetensors real-z/model.safetensors || fail "z moved to other integers at such a rate"

# generate: the prompt and what follows; greedy is the same twice, a seed too
ok generate m --prompt 'ab 12' --max-tokens 8
first=$out
cases=$((cases + 1))
[[ $out == *'ab 12'* ]] || fail "generate" "$out"
ok generate m --prompt 'ab 12' --max-tokens 8
[ "$out" = "$first" ] || fail "greedy generation differs" "$first" "$out"
ok generate m --prompt 'ab 12' --max-tokens 8 --temperature 1 --seed 3
first=$out
ok generate m --prompt 'ab 12' --max-tokens 8 --temperature 1 --seed 3 --top-k 1000 --top-p 1
[ "$out" = "$first" ] || fail "sampling with one seed differs" "$first" "$out"
ok generate m --prompt 'ab 12' --max-tokens 8 --exact
first=$out
for more in '--threads 1' '--precision f32 -q' '--repetition-penalty 1' '--context 100'; do
    ok generate m -p 'ab 12' -n 8 --exact $more
    [ "$out" = "$first" ] || fail "generate --exact $more" "$first" "$out"
done
ok generate m -p 'ab 12' -n 8 --exact --json
printf '%s\n' "$out" >json
has "generate --json" json '"prompt_tokens":[0-9]+' '"tokens":8' '"end":"length"' '"seconds":[0-9.]+'
ok generate real-z -p 'ab 12' -n 8
finish
