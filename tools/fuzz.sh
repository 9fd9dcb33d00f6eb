#!/bin/bash
# Lets clang's libFuzzer look for inputs that break a parser, from the seeds of tests/corpus on, under
# AddressSanitizer and UBSan. What it finds worth keeping lies in build-fuzz-clang/corpus and is gone on
# from the next time; an input that breaks something in build-fuzz-clang/NAME-crash-*. Then:
# mend it, and add the input to tests/corpus/NAME, which make test replays.
# usage: tools/fuzz.sh [SECONDS [NAME ...]]   seconds for each parser (60); names: corpus npy ...
set -u
cd "$(dirname "$0")/.." || exit 1
seconds=${1:-60} B=build-fuzz-clang bad=0
names=("${@:2}")
[ ${#names[@]} -gt 0 ] || for f in tests/fuzz_*.c; do f=${f#tests/fuzz_}; names+=("${f%.c}"); done
T=$(mktemp -d) || exit 1
trap 'rm -rf "$T"' EXIT
echo 'int LLVMFuzzerTestOneInput(const char *p, unsigned long n) { return p && n > 1u << 30 ? -1 : 0; }' >"$T/t.c"
if ! clang -fsanitize=fuzzer "$T/t.c" -o "$T/t" 2>/dev/null; then
    echo "SKIP no clang with libFuzzer (apt-get install clang, or clang-14 libclang-rt-14-dev)"
    exit 0
fi
make -j"$(nproc)" FUZZ=1 CC=clang "${names[@]/#/$B/tests/fuzz_}" || exit 1
for n in "${names[@]}"; do
    mkdir -p "$B/corpus/$n"
    if "$B/tests/fuzz_$n" -max_total_time="$seconds" -timeout=20 -rss_limit_mb=4096 -max_len=65536 \
        -artifact_prefix="$B/$n-" "$B/corpus/$n" "tests/corpus/$n" >"$B/$n.log" 2>&1; then
        printf '%-12s %s\n' "$n" "$(grep -E '^Done ' "$B/$n.log"), $(find "$B/corpus/$n" -type f | wc -l) inputs kept"
    else
        bad=1
        printf '%-12s BROKEN, see %s\n' "$n" "$B/$n.log"
        grep -E 'ERROR|SUMMARY|does not hold|Test unit written' "$B/$n.log" | sed 's/^/    /'
    fi
done
exit $bad
