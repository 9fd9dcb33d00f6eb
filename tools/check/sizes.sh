#!/bin/bash
# Size rule: no source file over 700 lines, no function over 120, no tabs. Lists what is over the
# aims (450 lines a file, 60 a function, 110 columns a line) without failing.
set -u
cd "$(dirname "$0")/../.." || exit 1
bad=0
files=$(find include src cli bench tests tools \( -name '*.c' -o -name '*.h' -o -name '*.cu' -o -name '*.cuh' -o -name '*.cc' \) 2>/dev/null | sort)
for f in $files; do
    n=$(wc -l <"$f")
    if [ "$n" -gt 700 ]; then echo "$f: $n lines, at most 700"; bad=1
    elif [ "$n" -gt 450 ]; then echo "note: $f: $n lines, aim 450"; fi
done
# A function body opens with a line that starts in column 0 and ends in "{", and closes with "}" there.
awk '
    FNR == 1 { inside = 0 }
    !inside && /^[A-Za-z_].*\)[^;=]*\{$/ && !/^(typedef|struct|enum|union|static const|const)/ {
        inside = 1; start = FNR; name = $0; next }
    !inside && /^[A-Za-z_].*\($|^[A-Za-z_].*,$/ { head = FNR; name = $0 }
    !inside && /^ .*\) *\{$/ && head && FNR - head < 8 { inside = 1; start = head; next }
    inside && /^\}/ {
        n = FNR - start + 1; inside = 0; head = 0
        sub(/\(.*/, "", name); sub(/.*[ *]/, "", name)
        if (n > 120) { printf "%s:%d: %s has %d lines, at most 120\n", FILENAME, start, name, n; bad = 1 }
        else if (n > 60) printf "note: %s:%d: %s has %d lines, aim 60\n", FILENAME, start, name, n
    }
    END { exit bad }' $files || bad=1
awk '/clang-format off/ { table = 1 }
     /clang-format on/ || FNR == 1 { table = 0 }
     length > 110 && !table { long[FILENAME]++ }
     /\t/ { printf "%s:%d: tab\n", FILENAME, FNR; bad = 1 }
     END {
         for (f in long) printf "note: %s: %d lines over 110 columns\n", f, long[f]
         exit bad
     }' $files || bad=1
exit $bad
