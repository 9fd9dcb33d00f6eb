#!/bin/bash
# Everything that can be known is looked at before the first step: quantize, tune and --dry-run refuse alike,
# with one line, and leave nothing; what is advised then works. Also what may be named as output.
# usage: tests/cli/refusals.sh BUILD
. "$(dirname "$0")/expect.bash"
cd "$TMP" || exit 1
ids 20000 d.npy
tiny m --layers 3
export LC_ALL=C
q=(--data d.npy "${SMALL[@]}")
listing() { find . -mindepth 1 -not -name '.out' -not -name '.err' -not -name '.diff' | sort; }
# refused REGEX COMMAND ARGS...: by the command and by its --dry-run; no file, folder or log comes or goes.
refused() {
    local regex=$1 before dry; shift
    echo kept >log
    before=$(listing)
    for dry in --dry-run ''; do
        expect_match 1 "eqat: $regex" "$@" --log log $dry
        [ "$before" = "$(listing)" ] || fail "$* $dry left something" "$(diff <(echo "$before") <(listing))"
        [ "$(cat log)" = kept ] || fail "$* $dry wrote to the log" "$(head -n 2 log)"
    done
    rm log
}
works() { cases=$((cases + 1)); run "$@"; [ "$rc" = 0 ] || fail "eqat $*" "exit $rc" "$err"; }

# ---- a NaN in any tensor
offset() { # of a tensor's first byte in m/model.safetensors
    local n; n=$(od -An -t u8 -N 8 m/model.safetensors)
    head -c $((n + 8)) m/model.safetensors | grep -aoE "\"$1\":\{[^}]*\}" | grep -oE 'offsets":\[[0-9]+' |
        grep -oE '[0-9]+$' | { read -r at && echo $((at + n + 8)); }
}
for t in lm_head.weight model.norm.weight model.embed_tokens.weight model.layers.2.mlp.down_proj.weight \
    model.layers.1.input_layernorm.weight; do
    rm -rf bad && cp -r m bad
    printf '\xff\xff\xff\xff' | dd of=bad/model.safetensors bs=1 seek="$(offset "$t")" conv=notrunc status=none
    refused "bad/model\.safetensors: tensor $t: expected finite numbers, found -?nan at element 0" quantize bad "${q[@]}" -o out
    refused "bad/model\.safetensors: tensor $t: expected finite numbers, .*" quantize bad --method rtn --no-e2e -o out
done
works quantize m --method rtn -o packed -q
cp -r packed broken
printf '\xff\xff\xff\xff' | dd of=broken/eqat.state bs=1 seek=$(($(stat -c %s broken/eqat.state) - 4)) conv=notrunc status=none
refused 'broken/eqat\.state: tensor .*: expected finite numbers, .*' tune broken --data d.npy --train-size 8 --seqlen 32 -o out

# ---- memory of both phases, before either; the advice can be followed
big=("${q[@]}" --e2e-batch-size 256 --e2e-train-size 256 --threads 2 --memory-limit 20M)
refused 'E2E-QP needs 0\.[0-9]+ GiB, the limit is 0\.0195 GiB: lower --e2e-micro-batch or --e2e-seqlen' \
    quantize m "${big[@]}" --e2e-micro-batch 256 -o out
works quantize m "${big[@]}" --e2e-micro-batch 4 -o out
rm -rf out
refused 'Block-AP for one block needs .* GiB, the limit is 0\.000977 GiB: lower --batch-size or --seqlen' \
    quantize m "${q[@]}" --memory-limit 1M -o out
# Phase two fits no more when phase one is done (another machine): its settings are free until it begins, the
# micro-batch always is.
args=(quantize m "${q[@]}" -o out)
works "${args[@]}" --e2e-seqlen 16
mv out want
works "${args[@]}" --log log
mv out whole
hold '"e2e_step","step":3' "${args[@]}" --e2e-epochs 200; kill_it
expect_match 1 'eqat: out\.work/run\.json: cannot resume: recipe\.e2e_qp\.epochs is 200 in that run and 1 now' "${args[@]}" --resume
rm out.work/e2e.*
before=$(listing)
expect_match 1 'eqat: E2E-QP needs .*: lower .*' "${args[@]}" --resume --memory-limit 1M
[ "$before" = "$(listing)" ] || fail "a refused --resume changed something" "$(diff <(echo "$before") <(listing))"
works "${args[@]}" --resume --e2e-seqlen 16 --e2e-micro-batch 1 --threads 2 --memory-limit 16M --log two.log
same "phase two as it fits" want out
cases=$((cases + 1))
grep -q '"e2e_step"' two.log && ! grep -q '"block_step"' two.log || fail "blocks were trained again" "$(head -n 3 two.log)"
rm -rf out
hold '"e2e_step","step":3' "${args[@]}"; kill_it
works "${args[@]}" --resume --e2e-micro-batch 1
same "another micro-batch in the middle of phase two" whole out
rm -rf out out.work

# ---- side files
cp -r m side && ln -s ../../blobs/gone side/LICENSE && ln -s self side/self
cases=$((cases + 1))
run quantize side --method rtn -o out
[ $rc = 0 ] && [ ! -e out/LICENSE ] && [[ $err == *'side/LICENSE: a link to nowhere, left out'* ]] || fail "a link to nowhere" "exit $rc" "$err"
rm -rf out
if [ "$(id -u)" != 0 ]; then
    echo x >side/shut.json && chmod 0 side/shut.json
    refused 'side/shut\.json: cannot open: Permission denied' quantize side "${q[@]}" -o out
fi

# ---- the output
for name in new/ new2// deep/er/; do
    works quantize m --method rtn -o $name -q
    same "-o $name" packed "${name%%/}"
    rm -rf "${name%%/*}"
done
mkdir empty && ln -s empty link
works quantize m "${q[@]}" -o link/
same "a link to an empty folder" whole empty
cases=$((cases + 1))
[ -L link ] || fail "the link is gone" "$(ls -l)"
[ -z "$(ls -d ./*.work ./*.tmp-* 2>/dev/null)" ] || fail "left behind" "$(ls)"
works quantize m "${q[@]}" -o link/ --resume
rm -rf link empty && ln -s nowhere link && mkdir empty
refused 'link: expected an absent or empty folder, found a link to nowhere' quantize m "${q[@]}" -o link
refused 'd\.npy: expected a folder, found a file' quantize m "${q[@]}" -o d.npy
refused '/proc/x: cannot create anything in /proc.*' quantize m "${q[@]}" -o /proc/x
cases=$((cases + 1))
(cd empty && "$EQAT" quantize ../m --method rtn -o . >../.out 2>../.err)
[ $? = 1 ] && grep -q '^eqat: \.: expected a folder that can be replaced, found the current one$' .err || fail "-o ." "$(cat .err)"
rmdir link empty 2>/dev/null; rm -rf link

# ---- work and cache folders
for what in work cache; do
    refused "m: expected a $what folder other than the model's folder" quantize m "${q[@]}" -o out --$what-dir m
    refused "out: expected a $what folder outside of the output out" quantize m "${q[@]}" -o out --$what-dir out
    refused "out/x: expected a $what folder outside of the output out" quantize m "${q[@]}" -o out --$what-dir out/x
    refused "d\.npy: expected a $what folder, found a file" quantize m "${q[@]}" -o out --$what-dir d.npy
    refused "/proc/x: cannot create anything in /proc.*" quantize m "${q[@]}" -o out --$what-dir /proc/x
    expect_match 1 "eqat: .*(empty name|--$what-dir).*" quantize m "${q[@]}" -o out --$what-dir ''
done

# ---- groups: plan says what quantize says
tiny odd --hidden 96 --inner 160 --heads 3 --kv-heads 3
refused 'model\.layers\.\*\.self_attn\.q_proj \[96, 96\]: .*' quantize odd "${q[@]}" --group-size 64 -o out
why=$err
expect 1 '' "$why" plan odd --group-size 64
refused 'model\.layers\.1\.mlp\.down_proj \[96, 160\]: expected inputs that the groups of w4g64 divide, found 160' \
    quantize odd "${q[@]}" --scheme w2g32,1.*.down_proj=w4g64 -o out
refused 'scheme: expected a pattern that fits a linear of this model \(the last is .*\.mlp\.down_proj\), found "expert"' \
    quantize m "${q[@]}" --scheme w2g64,expert=w4 -o out
why=$err
expect 1 '' "$why" plan m --scheme w2g64,expert=w4

# ---- places that need root: a mount point, a disk too small
mkdir vol
if mount -t tmpfs -o size=400k none vol 2>/dev/null; then
    refused 'vol: expected a folder that can be replaced, found a mount point: name a folder in it' quantize m "${q[@]}" -o vol
    refused '.*/vol: expected room for .* MiB on this disk, found 0\.391 MiB' quantize m "${q[@]}" -o vol/out --work-dir w
    refused '.*/vol: expected room for .* MiB on this disk, found .*' quantize m "${q[@]}" -o out --work-dir vol
    mount -o remount,size=64m vol
    works quantize m "${q[@]}" -o vol/out --work-dir vol/w
    rm -rf vol/out
    works quantize m "${q[@]}" -o out --work-dir vol # a mount point as work folder: it stays, empty
    same "a mount point as work folder" whole out
    cases=$((cases + 1))
    [ -z "$(ls -A vol)" ] || fail "left in the work folder" "$(ls -A vol)"
    umount vol
else
    echo "SKIP mount points and small disks need the right to mount"
fi
finish
