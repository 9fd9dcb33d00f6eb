#!/bin/bash
# The source is what clang-format 14 (Debian 12) makes of it; `make format` rewrites it. Other versions
# break lines elsewhere, so without this one the check is skipped.
cd "$(dirname "$0")/../.." || exit 1
F=$(command -v clang-format-14 || command -v clang-format)
[[ $($F --version 2>/dev/null) == *"version 14."* ]] || {
    echo "SKIP format: clang-format 14 is not installed (apt-get install clang-format-14)"
    exit 0
}
mapfile -t files < <(git ls-files '*.c' '*.h' '*.cu' '*.cuh' '*.cc')
case ${1:-check} in
write) "$F" -i "${files[@]}" ;;
check) "$F" --dry-run -Werror "${files[@]}" ;;
*) echo "usage: tools/check/format.sh [check|write]" >&2; exit 2 ;;
esac
