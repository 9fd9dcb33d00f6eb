#!/bin/bash
# What people are used to: sizes, bundled letters, --version, the man page and completion that are made from
# the option tables, and a line for those who give a hub name as MODEL.
# usage: tests/cli/habits.sh BUILD
. "$(dirname "$0")/expect.bash"
source=$PWD
cd "$TMP" || exit 1
ids 2000 d.npy
tiny m
check() { cases=$((cases + 1)); "${@:2}" || fail "$1"; } # what, command...
limit() { "$EQAT" plan m --memory-limit "$1" --json | grep -o '"memory_limit_bytes": *[0-9]*' | grep -o '[0-9]*$'; }

for size in 6g 6G 6gb 6GB 6GiB 6gib 6144M 6144MiB 6442450944 6442450944b 6.0G; do
    cases=$((cases + 1))
    [ "$(limit $size)" = 6442450944 ] || fail "--memory-limit $size" "$(limit $size)"
done
cases=$((cases + 3))
run quantize m --method rtn -qoout
[ "$rc" = 0 ] && [ -d out ] && [ -z "$err" ] || fail "-qoout" "$err"
run quantize m --data d.npy --no-e2e --train-size 4 --val-size 0 --seqlen 32 -qvo out2
[ "$rc" = 0 ] && [[ $err == '{"event":"run"'* ]] && ! grep -qv '^{' "$TMP/.err" || fail "-qv: events, no notes" "$err"
run version
[ "$(head -n 1 "$TMP/.out")" = "eqat $(sed -n 's/.*EQ_VERSION "\(.*\)"/\1/p' "$source/include/eqat.h")" ] &&
    grep -qE '^compiler +(gcc|.*[Cc]lang) [0-9.]+' "$TMP/.out" && grep -qE '^onednn +[0-9.]+$' "$TMP/.out" &&
    grep -qE '^instruction set +(sse2|avx2|avx512)$' "$TMP/.out" || fail "version" "$out"
cases=$((cases + 1))
one=$(sed '/^memory/d' "$TMP/.out"); run --version
[ "$one" = "$(sed '/^memory/d' "$TMP/.out")" ] || fail "--version" "$out"

# found before the data is read
for command in "quantize m -o o" "ppl m" "tune m -o o"; do
    expect_match 1 '(eqat: backend "cpq": expected .*|.*expected a quantized model.*)' $command --data no-such-file.txt --backend cpq -q
done

# every option of every help text is in the man page and in the completions
"$EQAT" help --man >eqat.1
for s in bash zsh fish; do "$EQAT" help --completion $s >completion.$s; done
sed 's/\\-/-/g' eqat.1 >plain
for c in $("$EQAT" help | sed -n '/^usage:/,/^example:/s/^  \([a-z]*\) .*/\1/p'); do
    case $c in help | version) continue ;; esac
    for o in $("$EQAT" help "$c" | grep -oE '^  (-., )?--[a-z0-9-]+' | grep -oE -- '--.*'); do
        check "man page: $c $o" grep -qE -- "^\.B (-., )?$o( |$)" plain
        check "bash completion: $c $o" grep -qE -- "[ ']$o[ ']" completion.bash
        check "zsh completion: $c $o" grep -qE -- "$o[=[}]" completion.zsh
        check "fish completion: $c $o" grep -qE -- "from $c' -l ${o#--} " completion.fish
    done
done
if command -v groff >/dev/null; then
    check "groff has something to say" test -z "$(groff -man -Tutf8 -ww eqat.1 2>&1 >rendered)"
    check "the rendered man page" grep -q 'models by EfficientQAT' rendered
else echo "SKIP groff is not installed: the man page is not rendered"; fi
for s in bash zsh fish; do
    if command -v $s >/dev/null; then check "$s cannot read its completion" $s -n completion.$s
    else echo "SKIP $s is not installed: its completion is not read"; fi
done
# bash completes commands, options, their words, folders
completes() { # what the line is, what must be offered
    local words
    words=$(bash -c '. ./completion.bash; COMP_WORDS=("$@"); COMP_CWORD=$(($# - 1)); _eqat; echo "${COMPREPLY[*]}"' bash "${@:2}")
    cases=$((cases + 1))
    [ "$words" = "$1" ] || fail "completion of ${*:2}" "$words" "not: $1"
}
completes 'quantize' eqat qu
completes '--cache-dir' eqat quantize m --cac
completes 'block-ap' eqat quantize --method b # and no word that begins otherwise
completes 'avx2 avx512' eqat ppl m --cpu-mask avx
completes '--man --completion' eqat help --
mkdir -p deep/er
completes 'deep/er' eqat quantize --out deep/
completes 'd.npy' eqat quantize --data d.n
expect 2 "" 'eqat: help --completion: expected bash, zsh or fish, found "csh" (eqat help)' help --completion csh

# a hub name, a cache
expect 1 "" 'eqat: meta-llama/Llama-3.2-1B: no such folder; a model of that name on the hub is fetched by: hf download meta-llama/Llama-3.2-1B --local-dir Llama-3.2-1B' \
    ppl meta-llama/Llama-3.2-1B --data d.npy
mkdir -p hub/models--a--b/snapshots/0123abc hub/models--a--b/refs
cp m/* hub/models--a--b/snapshots/0123abc
expect 1 "" 'eqat: hub: expected a model folder, found a hub cache; the folder is hub/models--a--b/snapshots/0123abc' inspect hub
expect 1 "" 'eqat: hub/models--a--b: expected a model folder, found the hub cache of a model; the folder is hub/models--a--b/snapshots/0123abc' \
    plan hub/models--a--b
# a file
: >m.gguf
expect 1 "" "eqat: m.gguf: expected a model folder, found a GGUF file; of a Llama's or Qwen's one is made by: eqat import m.gguf -o m" inspect m.gguf
expect_match 1 'eqat: no/such/folder.*: No such file or directory' inspect no/such/folder
finish
