#!/bin/bash
# make install: a program of somebody else's builds with pkg-config and does what the header says.
# usage: tests/cli/install.sh BUILD
. "$(dirname "$0")/expect.bash"
[ "$B" = build ] || { echo "SKIP make install builds the plain configuration, not $B"; exit 77; }
command -v pkg-config >/dev/null || { echo "SKIP pkg-config is not installed"; exit 77; }
export PKG_CONFIG_PATH=$TMP/usr/lib/pkgconfig
cases=1
make -s install PREFIX="$TMP/usr" >"$TMP/.out" 2>&1 || fail "make install" "$(cat "$TMP/.out")"
cat >"$TMP/app.c" <<'END'
#include <eqat.h>
#include <stdio.h>
int main(int n, char **arg) {
    eq_quantize_opts o;
    eq_quantize_opts_init(&o);
    o.model = arg[1], o.out = arg[2], o.method = EQ_METHOD_RTN, o.e2e = false;
    static eq_err err;
    eq_quantize_result r;
    if (n != 3 || eq_quantize(&o, NULL, &r, &err) != EQ_OK) return fprintf(stderr, "%s\n", err.msg), 1;
    printf("%.2f bits per weight\n", r.bits_per_weight);
    return 0;
}
END
"$MAKE_MODEL" "$TMP/m" --hidden 64 --inner 128 --layers 1 --heads 4 --kv-heads 2 --vocab 300 --context 64 >/dev/null
languages=(gcc)
command -v g++ >/dev/null && languages+=(g++)
for cc in "${languages[@]}"; do
    cases=$((cases + 2))
    file=$TMP/app.c
    [ $cc = g++ ] && file="-x c++ $TMP/app.c -x none"
    # shellcheck disable=SC2046,SC2086
    $cc $file $(pkg-config --cflags --libs eqat) -o "$TMP/app" 2>"$TMP/.err" || fail "$cc" "$(cat "$TMP/.err")"
    got=$("$TMP/app" "$TMP/m" "$TMP/q-$cc" 2>&1)
    [ "$got" = "2.28 bits per weight" ] || fail "the program made with $cc" "$got"
    got=$("$TMP/app" "$TMP/nowhere" "$TMP/x" 2>&1)
    [[ $got == *nowhere* ]] || fail "the error of the program made with $cc" "$got"
done
cases=$((cases + 1))
[ "$("$TMP/usr/bin/eqat" version | head -n 1)" = "eqat 0.1.0" ] || fail "the installed eqat"
finish
