#!/bin/bash
# Wrong command lines: one exact line on stderr, nothing on stdout, exit 2.
# usage: tests/cli/usage.sh BUILD
. "$(dirname "$0")/expect.bash"
wrong() { local line=$1; shift; expect 2 "" "eqat: $line" "$@"; }
q() { local line=$1; shift; wrong "quantize: $line (eqat help quantize)" quantize "$@"; }

wrong 'unknown command "quantise"; did you mean quantize? (eqat help)' quantise MODEL
wrong 'unknown command "pppl"; did you mean ppl? (eqat help)' pppl
wrong 'unknown command "serve" (eqat help)' serve
wrong 'unknown command "" (eqat help)' ''
wrong 'unknown command "nothing" (eqat help)' help nothing

# names
q 'unknown option --bitz; did you mean --bits?' M --bitz 3
q 'unknown option --groupsize; did you mean --group-size?' M --groupsize 64
q 'unknown option --quant_lr; did you mean --quant-lr?' M --quant_lr=1e-4
q 'unknown option --e2e-micro; did you mean --e2e-micro-batch?' M --e2e-micro 2
q 'unknown option --zzzzzzzz' M --zzzzzzzz
q 'unknown option -x' M -x
q 'unknown option -x in -qx' M -qx
q 'unknown option -x in -xq' M -xq
q '--out needs a value (DIR)' M -qo
q 'unexpected argument "N"' M N -o O
wrong 'ppl: unknown option --bits (eqat help ppl)' ppl M --bits 2

# values
q '--bits needs a value (N)' M --bits
q '--data needs a value (FILE)' M --data --bits 2
q '--out needs a value (DIR)' M -o -q
q '--resume takes no value, found "1"' M --resume=1
q '--bits: expected a whole number from 2 to 4, found "5"' M --bits 5
q '--bits: expected a whole number from 2 to 4, found "1"' M --wbits 1
q '--bits: expected a whole number from 2 to 4, found "2.0"' M --bits 2.0
q '--bits: expected a whole number from 2 to 4, found ""' M --bits=
q '--bits: expected a whole number from 2 to 4, found " 2"' M --bits ' 2'
q '--bits: expected a whole number from 2 to 4, found "99999999999999999999"' M --bits 99999999999999999999
q '--group-size: expected 32|64|128|256|-1, found "48"' M --group-size 48
q '--group-size: expected 32|64|128|256|-1, found "-2"' M --group-size -2
q '--scheme: expected a scheme like W2A16G64 or w3g128, found "2x64"' M --scheme 2x64
q '--scheme: expected a scheme like W2A16G64 or w3g128, found "w2a8g64"' M --scheme w2a8g64
q '--scheme: expected a scheme like W2A16G64 or w3g128, found "w2g64x"' M --scheme w2g64x
q '--scheme: expected 2, 3 or 4 bits in the scheme, found "w5g64"' M --scheme w5g64
q '--scheme: expected PATTERN=SCHEME behind the comma, as in w2g64,down_proj=w4g64, found "w2g64,w3"' M --scheme w2g64,w3
q '--scheme: expected letters, digits, _ . and * in a pattern of the scheme, found "w2,(up)=w4"' M --scheme 'w2,(up)=w4'
q '--scheme: expected groups of 32, 64, 128, 256 or -1 in the scheme, found "w2,up_proj=w4g9"' M --scheme w2,up_proj=w4g9
q '--grid: expected free|portable|q2_k|q4_k, found "q3_k"; did you mean q2_k?' M --grid q3_k
q '--scheme: expected groups of 32, 64, 128, 256 or -1 in the scheme, found "w2g100"' M --scheme w2g100
q '--train-size: expected a whole number of at least 1, found "0"' M --train-size 0
q '--seqlen: expected a whole number from 2 to 16777216, found "1"' M --seqlen 1
q '--quant-lr: expected a number from 0 to 1, found "nan"' M --quant-lr nan
q '--quant-lr: expected a number from 0 to 1, found "inf"' M --quant-lr inf
q '--quant-lr: expected a number from 0 to 1, found "1e999"' M --quant-lr 1e999
q '--quant-lr: expected a number from 0 to 1, found "-1e-4"' M --quant-lr -1e-4
q '--quant-lr: expected a number from 0 to 1, found "1e-4x"' M --quant-lr 1e-4x
q '--e2e-warmup: expected a number from 0 to 1, found "3"' M --e2e-warmup 3
q '--train: expected some of s,z,w,norm,clip,round, found "s,q"' M --train s,q
q '--train: expected some of s,z,w,norm,clip,round, found ""' M --train=
q '--e2e-train: expected some of s,z,w,norm, found "x"' M --e2e-train x
q '--method: expected block-ap|rtn|gptq|awq, found "peqa"' M --method peqa
q '--precision: expected bf16|f32, found "fp16"' M --precision fp16
q '--cpu-mask: expected sse2|avx2|avx512, found "neon"' M --cpu-mask neon
q '--threads: expected a whole number from 1 to 512, found "0"' M --threads 0
q '--seed: expected a whole number, found "-1"' M --seed -1
q '--memory-limit: expected a size (512M, 6G, 6GiB) of at least 1048576, found "6Q"' M --memory-limit 6Q
q '--memory-limit: expected a size (512M, 6G, 6GiB) of at least 1048576, found "100K"' M --memory-limit 100K

for size in 6g6 6GBi 6ib 6bb 6.5.1g g -6g '6 g' 6gibs 0x10g; do
    q "--memory-limit: expected a size (512M, 6G, 6GiB) of at least 1048576, found \"$size\"" M --memory-limit "$size"
done

# options that change nothing
rtn='with --method rtn, which trains no blocks'
for o in --train-size\ 8 --val-size\ 8 --seqlen\ 8 --batch-size\ 1 --epochs\ 1 --quant-lr\ 1 --weight-lr\ 1 \
    --clip-lr\ 1 --round-lr\ 1 --min-lr-factor\ 2 --train\ s --exact-sinks --keep-best --early-stop\ 1 --val-data\ V --cache-dir\ C; do
    q "${o%% *} has no effect $rtn" M -o O --data D --method rtn $o
done
for o in --e2e-data\ V --e2e-train-size\ 8 --e2e-seqlen\ 8 --e2e-batch-size\ 1 --e2e-micro-batch\ 1 --e2e-epochs\ 1 \
    --e2e-lr\ 1 --e2e-warmup\ 0 --e2e-clip\ 1 --e2e-train\ s --save-every\ 1; do
    [ "${o%% *}" = --e2e-data ] || q "${o%% *} has no effect with --method rtn and no --data, which round alone" M -o O --method rtn $o
done
q '--range has no effect with --method awq, which clips ranges by itself' M -o O --data D --method awq --range mse
q '--range has no effect with --start awq, which clips ranges by itself' M -o O --data D --start awq --range mse
q '--range has no effect when --train names clip, which begins with whole ranges' M -o O --data D --train clip --range mse
q '--range: expected minmax|mse, found "max"' M --range max
q '--data has no effect with --method rtn and --no-e2e, which train nothing' M -o O --data D --method rtn --no-e2e
for o in --keep-best --early-stop\ 1; do
    q "${o%% *} has no effect with --val-size 0" M -o O --data D --val-size 0 $o
    q "${o%% *} has no effect with --epochs 1" M -o O --data D --epochs 1 $o
done
q '--val-data has no effect with --val-size 0' M -o O --data D --val-size 0 --val-data V
q '--quant-lr has no effect when --train names neither s nor z' M -o O --data D --train w,norm --quant-lr 1
q '--clip-lr has no effect when --train does not name clip' M -o O --data D --clip-lr 1
q '--round-lr has no effect when --train does not name round' M -o O --data D --train clip --round-lr 1
q '--weight-lr has no effect when --train names neither w nor norm' M -o O --data D --train s --weight-lr 1
wrong 'plan: --keep-best has no effect with --val-size 0 (eqat help plan)' plan M --val-size 0 --keep-best
wrong 'generate: --seed has no effect without --temperature (eqat help generate)' generate M --prompt x --seed 1

# what is missing
q 'no MODEL given'
q 'no output given: -o DIR' M --data F
q 'no training text given: --data FILE' M -o O
wrong 'tune: no MODEL given (eqat help tune)' tune
wrong 'tune: no output given: -o DIR (eqat help tune)' tune M --data F
wrong 'tune: no training text given: --data FILE or --instruct FILE (eqat help tune)' tune M -o O
wrong 'ppl: no MODEL given (eqat help ppl)' ppl --data F
wrong 'ppl: no text given: --data, --wikitext2 or --c4 FILE (eqat help ppl)' ppl M
wrong 'ppl: --c4: expected one of --data, --wikitext2 and --c4, once, found "G" (eqat help ppl)' ppl M --data F --c4 G
wrong 'ppl: --limit: expected a whole number of at least 1, found "0" (eqat help ppl)' ppl M --data F --limit 0
wrong 'generate: no MODEL given (eqat help generate)' generate --prompt x
wrong 'generate: no text given: --prompt TEXT (eqat help generate)' generate M
wrong 'inspect: no MODEL given (eqat help inspect)' inspect
wrong 'plan: no MODEL given (eqat help plan)' plan

# a log that cannot be written is found before anything is computed
expect 1 "" "eqat: $TMP/no/log: cannot write the log: No such file or directory" \
    quantize M --data F -o "$TMP/o" --log "$TMP/no/log"
[ ! -e "$TMP/o" ] || fail "a refused run left $TMP/o"
finish
