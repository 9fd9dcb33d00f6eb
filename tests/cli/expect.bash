# Helpers of the command-line tests; sourced, never run. $1 of a test is the build folder.
set -u
cd "$(dirname "${BASH_SOURCE[0]}")/../.." || exit 1
B=$1
case $B in /*) EQAT=$B/eqat MAKE_MODEL=$B/make-model ;; *) EQAT=$PWD/$B/eqat MAKE_MODEL=$PWD/$B/make-model ;; esac
# In memory where that can be had: writing atomically syncs a disk each time. EQ_TEST_DIR: elsewhere.
TMP=$(mktemp -d -p "${EQ_TEST_DIR:-/dev/shm}" 2>/dev/null || mktemp -d) || exit 1
trap 'chmod -R u+w "$TMP" 2>/dev/null; rm -rf "$TMP"' EXIT
cases=0 failures=0
export TERM=dumb

# run ARGS...: the program's exit code, stdout and stderr in $rc, $out, $err (last newline kept off).
run() {
    "$EQAT" "$@" >"$TMP/.out" 2>"$TMP/.err"
    rc=$?
    out=$(cat "$TMP/.out") err=$(cat "$TMP/.err")
}
fail() { # what, then lines of detail
    failures=$((failures + 1))
    echo "FAILED: $1"; shift
    printf '    %s\n' "$@"
}
# expect CODE STDOUT STDERR ARGS...: all three exactly.
expect() {
    local code=$1 want_out=$2 want_err=$3; shift 3
    cases=$((cases + 1))
    run "$@"
    [ "$rc" = "$code" ] && [ "$out" = "$want_out" ] && [ "$err" = "$want_err" ] && return
    fail "eqat $*" "exit $rc, expected $code" "stdout: $out" "   not: $want_out" "stderr: $err" "   not: $want_err"
}
# expect_match CODE REGEX ARGS...: one line on stderr that matches the whole regex, nothing on stdout.
expect_match() {
    local code=$1 regex=$2; shift 2
    cases=$((cases + 1))
    run "$@"
    [ "$rc" = "$code" ] && [ -z "$out" ] && [ "$(wc -l <"$TMP/.err")" = 1 ] && [[ $err =~ ^$regex$ ]] && return
    fail "eqat $*" "exit $rc, expected $code" "stdout: $out" "stderr: $err" "   not: $regex"
}
same() { # what, a, b: two files or folders with the same bytes
    cases=$((cases + 1))
    diff -r "$2" "$3" >"$TMP/.diff" 2>&1 && return
    fail "$1" "$(head -n 5 "$TMP/.diff")"
}
# well_formed FILE: a page that is XML, fetches nothing and runs nothing.
well_formed() {
    cases=$((cases + 1))
    local bad
    bad=$(awk 'BEGIN { RS = "<" }
        NR > 1 {
            end = index($0, ">")
            if (!end) { print "no end of a tag: " substr($0, 1, 40); exit }
            tag = substr($0, 1, end - 1); text = substr($0, end + 1)
            if ($0 ~ /&([^a-z#]|$)/) print "a bare &: " substr($0, 1, 60)
            if (tag ~ /^!/ || tag ~ /\/$/) next
            split(tag, word, /[ \n]/)
            if (tag !~ /^\//) stack[++n] = word[1]
            else if (n < 1 || stack[n--] != substr(word[1], 2)) { print "closed but not open: " tag; exit }
        }
        END { if (n) print "left open: " stack[n] }' "$1")
    [ -z "$bad" ] || fail "$1 is not well-formed" "$bad"
    ! command -v xmllint >/dev/null || xmllint --noout "$1" 2>"$TMP/.xml" || fail "$1 by xmllint" "$(head -n 3 "$TMP/.xml")"
    ! grep -qE '<(script|iframe|img|link|object)|(src|href)=|url\(|@import' "$1" || fail "$1 fetches something"
}
finish() {
    echo "$cases cases, $failures failed"
    [ $failures = 0 ] && [ $cases -gt 0 ]
}

# ---- tiny models and ids ------------------------------------------------------------------------------

# ids N FILE [ROWS]: token ids 48 .. 57 as .npy, a stream or ROWS rows; needs no tokenizer.
ids() {
    local shape="($1,)" head
    [ $# -lt 3 ] || shape="($3, $(($1 / $3)))"
    head="{'descr': '|u1', 'fortran_order': False, 'shape': $shape, }"
    { printf '\x93NUMPY\x01\x00\x76\x00'; printf '%-117s\n' "$head"; seq 1000000 | tr -d '\n' | head -c "$1"; } >"$2"
}
# tiny DIR [options]: a random model that quantizes in less than a second.
tiny() { "$MAKE_MODEL" "$1" --like tiny "${@:2}" >/dev/null || { echo "make-model failed"; exit 1; }; }
# Settings that exercise both phases in a second.
SMALL=(--train-size 24 --val-size 4 --seqlen 32 --epochs 2 --e2e-train-size 32 --e2e-seqlen 32
    --e2e-batch-size 4 --save-every 1 -q)

# ---- the bundled model ------------------------------------------------------------------------------------
# on_demo METHOD SHARE, $demo its folder: at 2 bits by METHOD it has less than SHARE of rounding's perplexity.
demo_ppl() { run ppl "$1" --data "$demo/test.txt" --seqlen 128 --limit 24 --json -q; grep -o '"ppl":[0-9.]*' <<<"$out" | cut -d: -f2; }
on_demo() {
    local rtn it
    "$EQAT" quantize "$demo/model" -o drtn --method rtn --no-e2e -q >/dev/null
    "$EQAT" quantize "$demo/model" -o "d$1" --method "$1" --no-e2e --data "$demo/train.txt.zst" --train-size 64 --seqlen 128 -q >/dev/null
    cases=$((cases + 1))
    rtn=$(demo_ppl drtn) it=$(demo_ppl "d$1")
    awk -v r="$rtn" -v i="$it" -v share="$2" 'BEGIN { exit !(i > 1 && i < share * r) }' || fail "--method $1 on the bundled model: $it, rounding $rtn"
    echo "bundled model: $1 $it, rounding $rtn"
}

# ---- a run held at a point of it -----------------------------------------------------------------------
# hold TEXT ARGS...: the program in the background ($pid), stopped by SIGSTOP as soon as its log says TEXT.
# Its stderr is $TMP/.bg. Then one of: let_go ($rc, $err), kill_it.
hold() {
    local text=$1 line; shift
    rm -f "$TMP/.fifo" && mkfifo "$TMP/.fifo"
    "$EQAT" "$@" --log "$TMP/.fifo" >/dev/null 2>"$TMP/.bg" &
    pid=$!
    exec 9<"$TMP/.fifo"
    while read -r -u 9 line; do
        [[ $line != *"$text"* ]] && continue
        kill -STOP $pid
        return
    done
    fail "no $text in the log of eqat $*" "$(cat "$TMP/.bg")"
}
let_go() {
    cat <&9 >/dev/null &
    kill -CONT $pid
    wait $pid
    rc=$? err=$(cat "$TMP/.bg")
    exec 9<&-
}
kill_it() {
    kill -9 $pid
    wait $pid 2>/dev/null
    exec 9<&-
}
