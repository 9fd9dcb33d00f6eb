#!/bin/bash
# Things that must not be in the library: it never prints, exits or reads the environment, memory
# comes from base/mem.c, threads from base/par.c, and arithmetic means what it says.
# Memory that the public header hands to the caller (free) is allocated in the files named here.
set -u
cd "$(dirname "$0")/../.." || exit 1
bad=0
sources=$(find src include \( -name '*.c' -o -name '*.h' -o -name '*.cu' -o -name '*.cuh' -o -name '*.cc' \) | sort)
# deny "what" "extended regex" "files that may, as a regex"
deny() {
    local hits
    hits=$(grep -nE "$2" $sources | grep -vE "^($3):" | grep -vE '^[^:]*:[0-9]+: *(/?\*|//)')
    [ -z "$hits" ] || { while read -r h; do echo "$h    <- $1"; done <<<"$hits"; bad=1; }
}
deny "the library never prints" '(^|[^a-z_])(printf|puts|putchar|perror|vprintf) ?\(|(^|[^a-z_])(stdout|stderr)([^a-z_]|$)' 'none'
deny "the library never exits" '(^|[^a-z_])(_?exit|abort|quick_exit|_Exit) ?\(' 'src/backend/wrap_fenced\.c'
deny "the library reads no environment" '(^|[^a-z_])(secure_)?getenv ?\(|setenv ?\(' 'none'
deny "memory comes from base/mem.h" '(^|[^a-z_>.])(malloc|calloc|realloc|strdup|free|aligned_alloc|posix_memalign) ?\(' 'src/base/mem\.c'
deny "threads come from base/par.h" '#pragma +omp +(parallel|for|task)|pthread_create' 'src/base/par\.c'
deny "files are written through eq_writer" 'fopen ?\([^)]*"[wa]' 'none'
grep -nE '^[^#]*(-ffast-math|-Ofast|-funsafe-math)' Makefile && { echo "Makefile: fast-math changes results"; bad=1; }
grep -nE '(^|[^A-Za-z])(TODO|FIXME|XXX|HACK)([^A-Za-z]|$)' $sources cli/*.[ch] && { echo "unfinished things are written down elsewhere"; bad=1; }
exit $bad
