#!/bin/bash
# Runs every test program and CLI test of a build folder; the last line counts test programs.
# usage: tests/run.sh BUILD_FOLDER [name-part]
set -u
cd "$(dirname "$0")/.." || exit 1
B=$1 only=${2:-}
pass=0 fail=0 skip=0
one() { # name command...
    local name=$1 t0 t1 rc out; shift
    [[ $name == *"$only"* ]] || return 0
    t0=$(date +%s.%N)
    out=$("$@" 2>&1); rc=$?
    t1=$(date +%s.%N)
    printf '%-34s %5.1f s  ' "$name" "$(echo "$t1 - $t0" | bc 2>/dev/null || echo 0)"
    if [ $rc = 0 ]; then
        pass=$((pass + 1)); echo ok; grep -E '^SKIP' <<<"$out" | sed 's/^/    /'
    elif [ $rc = 77 ]; then
        skip=$((skip + 1)); echo skipped; grep -E '^SKIP' <<<"$out" | sed 's/^/    /'
    else
        fail=$((fail + 1)); echo "FAILED (exit $rc)"; tail -n 40 <<<"$out" | sed 's/^/    /'
    fi
}
for t in "$B"/tests/test_*; do [ -x "$t" ] && [[ $t != *.* ]] && one "$(basename "$t")" "$t"; done
for t in "$B"/tests/fuzz_*; do
    n=$(basename "$t"); [ -x "$t" ] && [[ $n != *.* ]] && one "$n replay" "$t" tests/corpus/"${n#fuzz_}"
done
for t in tests/cli/*.sh; do [ -f "$t" ] && one "cli/$(basename "$t")" bash "$t" "$B"; done
echo "$pass passed, $fail failed, $skip skipped"
[ $fail = 0 ]
