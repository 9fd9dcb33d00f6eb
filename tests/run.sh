#!/bin/bash
# Runs every test program, fuzzer replay and CLI test of a build folder, as many at once as there are
# cores, and reports them in a fixed order; the last line counts them.
# usage: tests/run.sh BUILD_FOLDER [name-part]
set -u
cd "$(dirname "$0")/.." || exit 1
B=$1 only=${2:-}
pass=0 fail=0 skip=0 told=0 cores=$(nproc) names=()
# A hanging test must fail, not hang the suite; sanitizers are up to twenty times slower.
limit=600
prefix=()
case $B in
*tsan*) limit=1800 prefix=(setarch "$(uname -m)" -R) # TSan of gcc 12 cannot bear high-entropy ASLR
    export TSAN_OPTIONS="suppressions=$PWD/tests/tsan.supp halt_on_error=1 ${TSAN_OPTIONS:-}" ;;
*asan*) limit=1800 ;;
esac
T=$(mktemp -d) || exit 1
trap 'cat "$T"/*.pid 2>/dev/null | xargs -r kill; rm -rf "$T"' EXIT
trap 'exit 130' INT TERM
one() { # name command...
    local name=$1 job=$T/${#names[@]} t; shift
    [[ $name == *"$only"* ]] || return 0
    [ ${#names[@]} -lt "$cores" ] || wait -n
    tell
    names+=("$name")
    {
        t=${EPOCHREALTIME/[.,]/}
        timeout -k 5 $limit "${prefix[@]}" "$@" >"$job.out" 2>&1 </dev/null &
        echo $! >"$job.pid"
        wait $!
        echo $? $((${EPOCHREALTIME/[.,]/} - t)) >"$job.rc"
        rm "$job.pid"
    } &
}
tell() { # of all jobs that ended, in the order in which they began
    local job=$T/$told rc t
    [ -s "$job.rc" ] || return
    read -r rc t <"$job.rc"
    printf '%-34s %4d.%d s  ' "${names[told]}" $((t / 1000000)) $((t / 100000 % 10))
    case $rc in
    0) pass=$((pass + 1)); echo ok; grep -E '^SKIP' "$job.out" | sed 's/^/    /' ;;
    77) skip=$((skip + 1)); echo skipped; grep -E '^SKIP' "$job.out" | sed 's/^/    /' ;;
    *) fail=$((fail + 1))
        [ "$rc" = 124 ] && echo "FAILED (longer than $limit s)" || echo "FAILED (exit $rc)"
        tail -n 40 "$job.out" | sed 's/^/    /' ;;
    esac
    told=$((told + 1))
    tell
}
runnable() { [ -x "$1" ] && [ -f "$1" ] && [[ $(basename "$1") != *.* ]]; }
start=$SECONDS
# The longest first. Whole training runs of a real model: minutes here become an hour under a
# sanitizer, and cli/pipeline walks the same code on a tiny one. The one with the widest tolerances
# takes 24 s of a core and is left to make check (EQ_TEST_ALL), and to whoever names it.
runs="large_rates paper_rates paper_rates_bf16"
[ "$only${EQ_TEST_ALL-}" ] && runs="large_rates_bf16 $runs"
for run in $runs; do
    [[ $B == *san* ]] || one "test_reference $run" "$B/tests/test_reference" $run
done
for t in tests/cli/*.sh; do [ -f "$t" ] && one "cli/$(basename "$t" .sh)" bash "$t" "$B"; done
for t in "$B"/tests/test_*; do
    [[ $t != */test_reference ]] && runnable "$t" && one "$(basename "$t")" "$t"
done
for t in "$B"/tests/fuzz_*; do
    n=$(basename "$t")
    runnable "$t" && one "$n replay" "$t" tests/corpus/"${n#fuzz_}"
done
wait
tell
echo "$((SECONDS - start)) s"
echo "$pass passed, $fail failed, $skip skipped"
[ $fail = 0 ] && [ $told = ${#names[@]} ] && [ $pass -gt 0 ]
