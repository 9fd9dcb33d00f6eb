#!/bin/bash
# GPTQ: on the bundled model it is far better than rounding and a start for training; the same bytes for any
# number of threads and after a stop; options that it has no use for.
# usage: tests/cli/gptq.sh BUILD
. "$(dirname "$0")/expect.bash"
demo=$PWD/assets/demo
cd "$TMP" || exit 1
tiny m
ids 4000 d.npy
q() { # OUT ARGS...
    local to=$1; shift
    run quantize m -o "$to" --data d.npy --no-e2e --group-size 32 --train-size 12 --seqlen 32 -q "$@"
    [ "$rc" = 0 ] || fail "quantize $*" "$err"
}
q one --method gptq --threads 1
q two --method gptq --threads 2 --batch-size 5 --cache-dir streams
same "threads, batches, streams in files" one/model.safetensors two/model.safetensors
cases=$((cases + 1))
[[ $err != *"round-to-nearest"* ]] || fail "GPTQ is taken for a block that was not trained" "$err"
run quantize m -o rtn --method rtn --no-e2e --group-size 32 -q
cases=$((cases + 1))
cmp -s one/model.safetensors rtn/model.safetensors && fail "GPTQ gives what rounding gives"

# A start is where training begins: with a rate of nearly nothing it is where it ends.
q start --start gptq --epochs 1 --val-size 0 --quant-lr 1e-12 --weight-lr 1e-12
same "training that moves nothing" one/model.safetensors start/model.safetensors
q trained --start gptq --epochs 1 --val-size 0
cases=$((cases + 1))
cmp -s start/model.safetensors trained/model.safetensors && fail "training from GPTQ's start moves nothing"

# Stopped in the second block and gone on.
hold '"block":1' quantize m -o stopped --data d.npy --no-e2e --group-size 32 --train-size 12 --seqlen 32 -q --method gptq
kill_it
run quantize m -o stopped --data d.npy --no-e2e --group-size 32 --train-size 12 --seqlen 32 -q --method gptq --resume
same "killed and gone on" one/model.safetensors stopped/model.safetensors

no() { local line=$1; shift; expect 2 "" "eqat: quantize: $line (eqat help quantize)" quantize m -o x "$@"; }
no '--epochs has no effect with --method gptq, which trains no blocks' --method gptq --data d.npy --epochs 2
no '--start has no effect with --method rtn, which trains no blocks' --method rtn --start gptq
no 'no training text given: --data FILE' --method gptq

# The bundled model at 2 bits.
case $B in *san*) finish; exit ;; esac
on_demo gptq 0.5
finish
