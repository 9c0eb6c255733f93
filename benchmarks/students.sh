#!/usr/bin/env bash
# The students whose scores are in results/esc10 and results/speech-commands-12, and their tables:
#   bash benchmarks/students.sh esc10 ESC-10-FOLDER OUT
#   bash benchmarks/students.sh speech_commands SPEECH_COMMANDS_FOLDER OUT    (needs espeak-ng and flite)
# Two hours and one hour of a CPU core. Run again, it goes on where it was stopped.
set -euo pipefail
what=$1 data=$2 out=$3
mkdir -p "$out"
common=(--resume --use_cpu --bf16 --eval_strategy epoch --disable_tqdm true --logging_steps 20 --weight_decay 0.05
  --adam_beta2 0.98 --gain 6 --label_smoothing_factor 0.05 --seed 1 --lr_scheduler_type cosine)
small=(--hidden_size 128 --heads 2 --layers 6)

train() { python training/run_finetune.py "${common[@]}" "${corpus[@]}" "$@"; }

if [[ $what == esc10 ]]; then
  corpus=(--corpus esc50 --data "$data" --frames 512 --per_device_train_batch_size 16 --per_device_eval_batch_size 40
    --shift 1.0 --frequency_mask 24 --time_mask 96 --mixup 0.5)
  train "${small[@]}" --fold all --stride 16 --mean -6.63 --std 5.36 --num_train_epochs 40 --learning_rate 5e-4 \
    --warmup_steps 100 --save_strategy epoch --save_total_limit 1 --output_dir "$out/base"
  tune() { # a further training, of each fold from its own start
    for fold in 1 2 3 4 5; do
      train --fold $fold --model "$out/base/fold-$fold" --num_train_epochs 6 --learning_rate 2e-4 --warmup_steps 10 \
        --save_strategy no --output_dir "$out/$1/fold-$fold" "${@:2}"
    done
  }
  values=(0 5 10 15 20 25 30) trained=(20 30) random=(0 10 20 30) table=(esc50 --batch-size 16)
else
  corpus=(--corpus speech_commands --classes 12 --data "$data" --frames 128 --per_device_train_batch_size 32
    --per_device_eval_batch_size 60 --shift 0.1 --frequency_mask 16 --time_mask 16 --noise 0.3 --speed 1.12
    --balanced_sampling true)
  [[ -f $out/words/manifest.csv ]] ||
    python training/synthesise_words.py "$out/words" --commands 120 --others 50 --seed 0
  train "${small[@]}" --extra_data "$out/words" --stride 10 --mean -6.85 --std 5.57 --num_train_epochs 24 \
    --learning_rate 1e-3 --warmup_steps 100 --save_strategy epoch --save_total_limit 1 --output_dir "$out/base"
  tune() {
    train --model "$out/base" --num_train_epochs 3 --learning_rate 3e-4 --warmup_steps 10 --save_strategy no \
      --output_dir "$out/$1" "${@:2}"
  }
  values=(0 4 8 12 16 20 24) trained=(8 16 24) random=(0 8 16 24) table=(speech_commands --classes 12 --batch-size 32)
fi

tune r0-constant --tome_r 0
tune random --tome_r 0 --train_r "${random[@]}"
for r in "${trained[@]}"; do
  for schedule in constant decreasing; do
    tune "r$r-$schedule" --tome_r "$r" --tome_schedule "$schedule"
  done
done
fastast evaluate "${table[@]}" --data "$data" --model "$out/r0-constant" --trained "$out/r{r}-{schedule}" \
  --random-r "$out/random" --r "${values[@]}" --trained-r "${trained[@]}" --schedule constant decreasing --rounds 10 \
  --output "$out/table"
