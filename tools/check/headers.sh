#!/bin/bash
# Header rule: every header compiles alone, has a guard, and no two source files share a name.
set -u
cd "$(dirname "$0")/../.." || exit 1
bad=0
flags="-std=c11 -Iinclude -Isrc -Icli -Ibench -Itests/cuda_emu -I. -D_POSIX_C_SOURCE=200809L -Wall -Wextra -Werror -fopenmp-simd -fsyntax-only"
for h in $(find include src cli bench -name '*.h' 2>/dev/null | sort); do
    isa=
    case $h in *_avx2.h) isa="-mavx2 -mfma -mf16c" ;; *_avx512.h) isa="-mavx512f -mavx512bw -mavx512dq -mavx512vl -mfma -mf16c" ;; esac
    ${CC:-gcc} $flags $isa -x c - <<<"#include \"$h\"
typedef int eq_not_empty;" || { echo "$h: does not compile alone"; bad=1; }
    # .inc.h files are bodies compiled several times, on purpose.
    [[ $h == *.inc.h ]] || grep -q '^#ifndef EQ' "$h" || { echo "$h: no include guard"; bad=1; }
done
double=$(find include src cli bench tests tools \( -name '*.c' -o -name '*.h' -o -name '*.cu' -o -name '*.cuh' -o -name '*.cc' \) -printf '%f\n' 2>/dev/null |
    sort | uniq -d)
[ -z "$double" ] || { echo "file names used twice:" $double; bad=1; }
exit $bad
