#!/bin/bash
# Everything that must hold before a change lands: the rules of tools/check/, both compilers with
# warnings as errors, the suite under AddressSanitizer + UBSan and under ThreadSanitizer.
# usage: tools/check.sh [rules|builds|asan|tsan ...]   (nothing: all)
set -u
cd "$(dirname "$0")/.." || exit 1
want=${*:-rules builds test asan tsan}
ok=0 failed=
step() { # name command...
    local name=$1 log; shift
    log=$(mktemp)
    printf '== %s\n' "$name"
    if "$@" >"$log" 2>&1; then
        ok=$((ok + 1))
        grep -E '^(note:|SKIP|    SKIP|[0-9]+ passed)' "$log"
    else
        failed="$failed $name"
        tail -n 60 "$log"
        echo "== $name FAILED"
    fi
    rm -f "$log"
}
jobs=$(nproc)
everything() { # build-folder make-options...: program, tools and tests, without running them
    local folder=$1; shift
    make -j"$jobs" "$@" "$folder/eqat" tools &&
        make -j"$jobs" "$@" $(for t in tests/test_*.c tests/fuzz_*.c; do echo "$folder/tests/$(basename "$t" .c)"; done)
}
for w in $want; do
    case $w in
    rules) for rule in tools/check/*.sh; do step "$(basename "$rule" .sh)" bash "$rule"; done ;;
    builds)
        step "gcc, warnings are errors" everything build-dev DEV=1
        if command -v clang >/dev/null; then
            step "clang, warnings are errors" everything build-dev-clang DEV=1 CC=clang
        else echo "SKIP clang is not installed (apt-get install clang)"; fi ;;
    test) step "test" env EQ_TEST_ALL=1 make -j"$jobs" test ;;
    asan) step "address and undefined behaviour" make -j"$jobs" SAN=address test ;;
    tsan) step "data races" make -j"$jobs" SAN=thread test ;;
    *) echo "usage: tools/check.sh [rules|builds|test|asan|tsan ...]" >&2; exit 2 ;;
    esac
done
[ -z "$failed" ] && echo "$ok checks passed" || echo "$ok checks passed, failed:$failed"
[ -z "$failed" ]
