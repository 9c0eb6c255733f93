#!/usr/bin/env bash
# FastAST beside stock AST on a GPU: AST-base, bfloat16, with flash-class sdpa, compiled and not, and training steps.
#   bash benchmarks/gpu.sh OUT [cuda:1]
# Needs torch for the GPU, transformers, and matplotlib for the pictures: no corpora, no audio libraries. Each length
# writes its table at once. No GPU has run it yet.
set -euo pipefail
out=$1 device=${2:-cuda}
cd "$(dirname "$0")/.."
bench() { python -m fastast_hf.cli.main benchmark --device "$device" --dtype bfloat16 --rounds 20 "$@"; }

# Where does the bias of merged tokens go: a mask, a folded key that keeps the flash kernel, or flex attention?
for attn in sdpa sdpa_folded flex_attention; do
  for batch in 32 128; do
    bench --frames 1024 512 128 --batch-size $batch --r 0 10 20 40 --schedule constant decreasing --attn $attn \
      --output "$out/inference"
  done
done
# Compiled, and as CUDA graphs.
for mode in default reduce-overhead; do
  bench --frames 1024 512 128 --batch-size 32 --r 0 20 40 --attn sdpa_folded --compile $mode --output "$out/$mode"
done
bench --training --frames 1024 512 --batch-size 32 --r 0 20 40 --attn sdpa_folded --output "$out/training"
python benchmarks/merging_overhead.py --device "$device" --output "$out/merging-overhead"
