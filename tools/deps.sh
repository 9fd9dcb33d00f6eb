#!/bin/bash
# Installs the Debian packages whose headers or compilers are missing, or names the line to run.
# usage: tools/deps.sh "header ..." "package ..."
set -u
missing=
for h in $1; do
    echo "#include <stdio.h>
#define PCRE2_CODE_UNIT_WIDTH 8
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <setjmp.h>
#include <$h>" | ${CC:-cc} -E -x c - >/dev/null 2>&1 || missing="$missing $h"
done
for c in gcc g++; do command -v $c >/dev/null || missing="$missing $c"; done
[ -z "$missing" ] && exit 0
run="apt-get install -y --no-install-recommends $2"
echo "eqat needs headers and compilers that are not here:$missing" >&2
if ! command -v apt-get >/dev/null; then
    echo "install the packages that hold them; on Debian 12: $run" >&2
    exit 1
fi
[ "$(id -u)" = 0 ] || run="sudo $run"
if [ "$(id -u)" != 0 ] && ! sudo -n true 2>/dev/null; then
    echo "run this, then again: $run" >&2
    exit 1
fi
echo "installing: $run" >&2
${run%%apt-get*}apt-get update -q >/dev/null 2>&1
DEBIAN_FRONTEND=noninteractive $run >/tmp/eqat-apt.log 2>&1 || { tail -5 /tmp/eqat-apt.log >&2; exit 1; }
