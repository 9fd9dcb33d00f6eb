#!/bin/bash
# Runs every test program, fuzzer replay and CLI test of a build folder; the last line counts them.
# usage: tests/run.sh BUILD_FOLDER [name-part]
set -u
cd "$(dirname "$0")/.." || exit 1
B=$1 only=${2:-}
pass=0 fail=0 skip=0
# A hanging test must fail, not hang the suite; sanitizers are up to twenty times slower.
limit=600
prefix=()
case $B in
*tsan*) limit=1800 prefix=(setarch "$(uname -m)" -R) # TSan of gcc 12 cannot bear high-entropy ASLR
    export TSAN_OPTIONS="suppressions=$PWD/tests/tsan.supp halt_on_error=1 ${TSAN_OPTIONS:-}" ;;
*asan*) limit=1800 ;;
esac
one() { # name command...
    local name=$1 out rc t; shift
    [[ $name == *"$only"* ]] || return 0
    t=${EPOCHREALTIME/[.,]/}
    out=$(timeout -k 5 $limit "${prefix[@]}" "$@" 2>&1 </dev/null); rc=$?
    t=$((${EPOCHREALTIME/[.,]/} - t))
    printf '%-34s %4d.%d s  ' "$name" $((t / 1000000)) $((t / 100000 % 10))
    case $rc in
    0) pass=$((pass + 1)); echo ok; grep -E '^SKIP' <<<"$out" | sed 's/^/    /' ;;
    77) skip=$((skip + 1)); echo skipped; grep -E '^SKIP' <<<"$out" | sed 's/^/    /' ;;
    *) fail=$((fail + 1))
        [ $rc = 124 ] && echo "FAILED (longer than $limit s)" || echo "FAILED (exit $rc)"
        tail -n 40 <<<"$out" | sed 's/^/    /' ;;
    esac
}
runnable() { [ -x "$1" ] && [ -f "$1" ] && [[ $(basename "$1") != *.* ]]; }
start=$SECONDS
for t in "$B"/tests/test_*; do
    # Whole training runs of a real model: minutes here become an hour under a sanitizer, and
    # cli/pipeline walks the same code on a tiny one.
    [[ $B == *san* && $t == */test_reference ]] && continue
    runnable "$t" && one "$(basename "$t")" "$t"
done
for t in "$B"/tests/fuzz_*; do
    n=$(basename "$t")
    runnable "$t" && one "$n replay" "$t" tests/corpus/"${n#fuzz_}"
done
for t in tests/cli/*.sh; do [ -f "$t" ] && one "cli/$(basename "$t" .sh)" bash "$t" "$B"; done
echo "$((SECONDS - start)) s"
echo "$pass passed, $fail failed, $skip skipped"
[ $fail = 0 ] && [ $pass -gt 0 ]
