#!/usr/bin/env bash
# FastAST beside stock AST on a GPU: AST-base with random weights, bfloat16, at 128, 512 and 1024 frames.
#   [DEVICE=cuda:1] bash benchmarks/gpu.sh OUT [PART…]
# Needs torch for the GPU (its wheels bring Triton) and transformers; compiled-*, graphs-* and flex a C compiler, too. No
# corpora, no audio libraries; pictures where there is matplotlib.
#
# Runs all parts, in this order, or those that are named. No GPU has run it yet: minutes are reckoned for an H100 with a
# fast CPU, which stock AST's front end needs most of batch 128's for. So is memory: 30 GB for stock AST's eager
# attention at batch 128, which is left out where it doesn't fit, and 60 GB for training steps at batch 128.
#   sdpa           4   batch 32 and 128, the bias of merged tokens as sdpa's mask: the default
#   folded         4   the same with the bias folded into the keys, for which torch can take its flash kernel
#   flex           6   the same by flex attention, which is compiled
#   compiled-32    6   stock AST and FastAST compiled, batch 32; half a minute for each length and model
#   compiled-128   7   the same, batch 128
#   graphs-32      6   the same as CUDA graphs, batch 32
#   graphs-128     7   the same, batch 128
#   training       4   training steps under bfloat16 autocast, batch 32 and 128
#   merging        4   match and merge by operator, in float32 and bfloat16
# A run that fails does not end the others: it is named at the end, and the exit code is 1. The rows of each length, the
# shortest first, are written at once, into OUT/PART.
set -uo pipefail
if [ $# -eq 0 ]; then
  sed -n '2,/^set /s/^# \{0,1\}//p' "$0" >&2
  exit 2
fi
mkdir -p "$1" && out=$(cd "$1" && pwd) || exit 2
shift
parts=(sdpa folded flex compiled-32 compiled-128 graphs-32 graphs-128 training merging)
for part; do
  case " ${parts[*]} " in
    *" $part "*) ;;
    *) echo "gpu.sh: there is no part $part: give some of ${parts[*]}" >&2; exit 2 ;;
  esac
done
[ $# -gt 0 ] || set -- "${parts[@]}"
cd "$(dirname "${BASH_SOURCE[0]}")/.." || exit 2
export PYTHONPATH=$PWD${PYTHONPATH:+:$PYTHONPATH}
device=${DEVICE:-cuda}
failed=()
trap 'exit 130' INT  # python ends Ctrl-C by itself, and the next run would start

bench() { # PART BATCH ARGUMENT…
  python -m fastast_hf.cli.main benchmark --device "$device" --dtype bfloat16 --frames 128 512 1024 \
    --batch-size "$2" --output "$out/$1" "${@:3}" || failed+=("$1 at batch $2;")
}

for part; do
  echo "== $part"
  case $part in
    sdpa | folded | flex)
      declare -A attn=([sdpa]=sdpa [folded]=sdpa_folded [flex]=flex_attention)
      for batch in 32 128; do
        bench "$part" $batch --rounds 20 --r 0 10 20 40 --schedule constant decreasing --attn "${attn[$part]}"
      done ;;
    compiled-*) bench "$part" "${part#*-}" --rounds 10 --r 0 40 --attn sdpa_folded --compile default ;;
    graphs-*) bench "$part" "${part#*-}" --rounds 10 --r 0 40 --attn sdpa_folded --compile reduce-overhead ;;
    training)
      for batch in 32 128; do
        bench training $batch --training --rounds 10 --r 0 20 40 --attn sdpa_folded
      done ;;
    merging)
      python benchmarks/merging_overhead.py --device "$device" --tokens 602 1214 --batch-size 1 32 128 \
        --output "$out/merging" || failed+=("merging;") ;;
  esac
done
if [ ${#failed[@]} -gt 0 ]; then
  echo "gpu.sh: failed: ${failed[*]}" >&2
  exit 1
fi
