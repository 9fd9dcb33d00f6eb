#!/bin/bash
# Everything that only a GPU can show, on one page: each operation against the reference, gradients,
# compute-sanitizer, the reference run, the same bits twice, speed beside PyTorch, the profile of a
# step. Built here, run there: that machine needs a driver, CUDA's libraries and Python with PyTorch, no
# packages and no network.
#
#   tools/device-check.sh pack DIR       builds and puts everything into DIR/device-check.tar.gz (20 MB)
#   tools/device-check.sh run DIR OUT    there, below 6 minutes: OUT/page.txt (printed too), OUT/log.txt
#   SM=80 tools/device-check.sh pack ...           for another card than sm_90
#   ONLY="ops block-ap" tools/device-check.sh run ...   some parts alone (their names stand before each line)
set -u
cd "$(dirname "$0")/.." || exit 1
usage() { sed -n '7,10s/^# *//p' "$0" >&2; exit 2; }

# ---- here ------------------------------------------------------------------------------------------
pack() {
    local dir=$1 t shared=../shared
    mkdir -p "$dir" && t=$(mktemp -d) || exit 1
    trap "rm -rf '$t'" EXIT
    # A folder of its own, for the one card that is meant.
    local b=build-device
    make -j"$(nproc)" B=$b SM="${SM:-90}" all tools cuda $b/device-bench $b/tests/test_device $b/tests/test_reference || exit 1
    mkdir -p "$t/tree/tools" "$t/tree/bin" "$t/tree/lib"
    cp $b/eqat $b/make-model $b/device-bench $b/libeqat-cuda.so $b/tests/test_device \
        $b/tests/test_reference "$t/tree/bin"
    strip "$t"/tree/bin/*
    cp tools/peer_step.py tools/peer_gpu.py "$t/tree/tools"
    cp -r assets "$t/tree"
    # Debian's libraries travel, those of the C library and of CUDA are that machine's own.
    ldd $b/eqat $b/tests/test_device | awk '$3 ~ "^/" {print $3}' | sort -u |
        grep -vE '/(libc|libm|libdl|librt|libpthread|ld-linux[^/]*)\.so|libcuda|libcublas|libstdc\+\+|libgcc_s' |
        xargs -I{} cp -L {} "$t/tree/lib"
    for d in reference/tinystories-656k-w2g64 models/TinyStories-656K; do
        [ -d "$shared/$d" ] && mkdir -p "$t/shared/$d" && cp -r "$shared/$d/." "$t/shared/$d"
    done
    git describe --always --dirty >"$t/tree/version"
    tar -C "$t" -czf "$dir/device-check.tar.gz" . && ls -l "$dir/device-check.tar.gz"
}

# ---- there -----------------------------------------------------------------------------------------
page() { printf '%s\n' "$*" | tee -a "$out/page.txt"; }
wanted() { [ -z "${ONLY-}" ] || [[ " $ONLY " == *" $1 "* ]]; }
# step NAME SECONDS "what to show of it (extended regex)" command...
step() {
    local name=$1 limit=$2 show=$3 began=$EPOCHREALTIME rc log=$T/log; shift 3
    wanted "$name" || return 0
    timeout -k 5 "$limit" "$@" >"$log" 2>&1 </dev/null; rc=$?
    local seconds; seconds=$(awk -v a="$began" -v b="$EPOCHREALTIME" 'BEGIN { printf "%.1f", b - a }')
    { echo "=== $name: exit $rc, $seconds s: $*"; cat "$log"; } >>"$out/log.txt"
    case $rc in
    0) page "[$name] ok, $seconds s" ;;
    124 | 137) bad=$((bad + 1)); page "[$name] FAILED: longer than $limit s" ;;
    *) bad=$((bad + 1)); page "[$name] FAILED: exit $rc, $seconds s"
        grep -vE '^\[ (RUN|      OK) ' "$log" | tail -n 12 | sed 's/^/    /' | tee -a "$out/page.txt" ;;
    esac
    [ "$rc" = 0 ] && [ "$show" ] && grep -E "$show" "$log" | sed 's/^/    /' | tee -a "$out/page.txt"
    return 0
}
twice() { # the same run two times, byte for byte
    local m=../shared/models/TinyStories-656K r=../shared/reference/tinystories-656k-w2g64 i
    [ -d $m ] || { echo "SKIP no model was packed"; return 0; }
    for i in 1 2; do
        bin/eqat quantize $m --data $r/train.npy --val-data $r/val.npy --train-size 64 --val-size 8 \
            --e2e-train-size 64 --backend cuda -o "$T/twice-$i" || return 1
    done
    diff -r "$T/twice-1" "$T/twice-2" && echo "both folders are the same" &&
        bin/eqat ppl "$T/twice-1" --data $r/test.npy --limit 100 --backend cuda &&
        bin/eqat ppl "$T/twice-1" --data $r/test.npy --limit 100 --backend cpu
}
profile() {
    bin/eqat quantize "$T/scratch/block-ap-model" --data "$T/scratch/block-ap-data.npy" --no-e2e \
        --val-size 0 --train-size 32 --epochs 1 --batch-size 2 --backend trace:cuda -o "$T/profile"
}
profile_e2e() {
    local m=$T/scratch/e2e-qp
    bin/eqat quantize "$m-model" --method rtn --no-e2e -o "$T/profile-rtn" &&
        bin/eqat tune "$T/profile-rtn" --data "$m-data.npy" --train-size 8 --batch-size 8 \
            --micro-batch 1 --backend trace:cuda -o "$T/profile-e2e"
}
export_all() { export -f twice profile profile_e2e; export T; }

run() {
    local dir=$1 out=$2 bad=0 began=$SECONDS T py
    mkdir -p "$out" && T=$(mktemp -d) || exit 1
    trap "rm -rf '$T'" EXIT
    tar -C "$T" -xzf "$dir/device-check.tar.gz" || exit 1
    out=$(cd "$out" && pwd)
    cd "$T/tree" || exit 1
    py=$(command -v python3 || command -v python)
    LD_LIBRARY_PATH=$T/tree/lib:$(places_of_cublas "$py" | paste -sd:)
    export LD_LIBRARY_PATH PYTHONUNBUFFERED=1
    : >"$out/page.txt"; : >"$out/log.txt"
    bin/test_device none >"$T/log" 2>&1
    [ $? = 77 ] && { page "device-check: $(sed 's/^SKIP //' "$T/log")"; exit 1; }
    export_all
    page "eqat $(cat version) on $(head -n 1 "$T/log"), driver $(nvidia-smi --query-gpu=driver_version --format=csv,noheader 2>/dev/null)"
    step ops 90 'PASSED|tests? run' bin/test_device
    step twice 60 'same|ppl|SKIP' bash -c twice
    step reference 60 'block 1 epoch 1|ppl|SKIP|PASSED' bin/test_reference paper_rates cuda
    step bench 60 'roof|% of' bin/eqat bench --filter ops --backend cuda
    step kernels 60 'fwd|GB/s' bin/device-bench
    step block-ap 60 'step|products' bin/eqat bench --filter block-ap --backend cuda --scratch "$T/scratch"
    step e2e-qp 60 'step|products' bin/eqat bench --filter e2e-qp --backend cuda --scratch "$T/scratch"
    step generate 90 'roof|tokens/s' bin/eqat bench --filter generate --backend cuda --scratch "$T/scratch"
    step profile 40 '%|operation|_|cast|add|mse|rope|adamw' bash -c profile
    step profile-e2e 40 '%|operation|_|cast|add|rope|adamw' bash -c profile_e2e
    step peer 60 . "$py" tools/peer_gpu.py
    step peer-ap 60 . "$py" tools/peer_step.py block-ap --device cuda --compile --batch 2 --steps 30
    step peer-e2e 60 . "$py" tools/peer_step.py e2e-qp --device cuda --compile --recompute --tokens 4096 --steps 30
    step sanitizer 100 'ERROR SUMMARY' compute-sanitizer --error-exitcode 9 bin/test_device first
    page "$((SECONDS - began)) s, $bad failed"
    [ $bad = 0 ]
}
# cuBLASLt of the machine: CUDA's folder, or PyTorch's packages.
places_of_cublas() {
    ls -d /usr/local/cuda*/lib64 2>/dev/null
    "$1" -c 'import nvidia, glob
for p in nvidia.__path__: print("\n".join(glob.glob(p + "/*/lib")))' 2>/dev/null
}

case ${1-} in
pack) [ $# = 2 ] || usage; pack "$2" ;;
run) [ $# = 3 ] || usage; run "$2" "$3" ;;
*) usage ;;
esac
