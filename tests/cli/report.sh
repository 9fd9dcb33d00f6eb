#!/bin/bash
# --report and eqat report: a page from the log alone, well-formed whatever names are in it; of stopped and
# cut logs too; logs that are none are named with their line.
# usage: tests/cli/report.sh BUILD
. "$(dirname "$0")/expect.bash"
cd "$TMP" || exit 1
ids 20000 d.npy
odd='m<i>&"'\''</i>'
tiny "$odd" --layers 3
args=(quantize "$odd" --data d.npy "${SMALL[@]}")
has() { # file, texts that must be in it
    local f=$1 t; shift
    for t in "$@"; do
        cases=$((cases + 1))
        grep -qF -- "$t" "$f" || fail "$f: no $t"
    done
}

run "${args[@]}" -o o --log run.log --report run.html
[ "$rc" = 0 ] || fail "quantize --report" "$err"
well_formed run.html
has run.html 'Losses of the blocks' 'Training and validation, block by block' 'Loss of the second phase' \
    'Error of each linear' 'm&lt;i&gt;&amp;&quot;&#39;&lt;/i&gt;' 'prefers-color-scheme:dark' '<svg ' 'q_proj' 'd.npy'
cases=$((cases + 1))
! grep -qF '<i>' run.html || fail "a model's name goes through as it is"
run report run.log -o again.html
same "--report and eqat report" run.html again.html

# every linear of every block, with the error that rounding makes
run quantize "$odd" --method rtn --bits 4 -q -o r4 --log r4.log
run quantize "$odd" --method rtn --bits 2 -q -o r2 --log r2.log
error() { sed -n 's/.*"event":"linears","block":'"$2"',"error":{"self_attn.q_proj":\([0-9.e-]*\).*/\1/p' "$1"; }
cases=$((cases + 3))
[ "$(grep -c '"event":"linears"' r2.log)" = 3 ] || fail "linears of three blocks" "$(grep linears r2.log)"
awk -v a="$(error r4.log 1)" -v b="$(error r2.log 1)" 'BEGIN { exit !(a > 0 && a < 0.2 && b > 2 * a && b < 1) }' ||
    fail "errors at 4 and 2 bits" "$(error r4.log 1) $(error r2.log 1)"
run quantize "$odd" --method rtn --bits 2 -q -o t1 --threads 1 --log t1.log
[ "$(error r2.log 2)" = "$(error t1.log 2)" ] || fail "threads change an error"
run report r4.log r2.log -o two.html
well_formed two.html
has two.html '<h2>r4.log</h2>' '<h2>r2.log</h2>'

# tune has no weights to compare with, and says the rest
run tune o --data d.npy --train-size 32 --seqlen 32 --batch-size 4 -q -o tuned --log tune.log --report tune.html
[ "$rc" = 0 ] || fail "tune --report" "$err"
well_formed tune.html
has tune.html 'Loss of the second phase'
cases=$((cases + 1))
! grep -qF 'Error of each linear' tune.html || fail "errors of tuned weights"

# a log that a kill cut, alone and with the run that went on behind it
head -n 40 run.log >cut.log && printf '{"event":"block_st' >>cut.log
run report cut.log -o cut.html
cases=$((cases + 1))
[ "$rc" = 0 ] && well_formed cut.html || fail "a cut log" "$err"
has cut.html 'not yet, or killed'
{ cat cut.log; echo; cat run.log; } >on.log
run report on.log -o on.html
cases=$((cases + 1))
[ "$rc" = 0 ] && well_formed on.html || fail "a run that went on" "$err"
has on.html 'in several runs'

# refused
{ head -n 3 run.log; echo 'no object'; tail -n 3 run.log; } >bad.log
expect_match 1 'eqat: bad.log: line 4: expected an event of a log, found no JSON object' report bad.log -o x.html
expect_match 1 'eqat: d.npy: line 1: expected an event of a log.*' report d.npy -o x.html
: >empty.log
expect_match 1 'eqat: empty.log: expected the log of a run \(--log\), found no "run" event' report empty.log -o x.html
expect_match 1 'eqat: nosuch.log: .*' report nosuch.log -o x.html
expect_match 1 'eqat: run.log: expected a file of its own for the page, found LOG \(run.log\)' report run.log -o run.log
expect_match 1 'eqat: d.npy: expected a file of its own for the page, found --data \(d.npy\)' "${args[@]}" -o n --log n.log --report d.npy
expect_match 1 'eqat: n.log: expected a file of its own for the page, found --log \(n.log\)' "${args[@]}" -o n --log n.log --report n.log
expect 2 "" 'eqat: quantize: --report has no effect without --log, which it is made from (eqat help quantize)' "${args[@]}" -o n --report n.html
expect 2 "" 'eqat: report: no LOG given (eqat help report)' report
expect 2 "" 'eqat: report: no page given: -o FILE (eqat help report)' report run.log
cases=$((cases + 1))
[ ! -e x.html ] && [ ! -e n.html ] || fail "a refused page was written"
finish
