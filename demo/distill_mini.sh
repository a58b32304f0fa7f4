#!/usr/bin/env bash
# How the few-step adapters beside the small edit model were made, on the pairs of demo/train_riff_pix2pix_mini.sh; one CPU core takes 24 minutes.
set -euo pipefail
cd "$(dirname "$0")/.."
recipe="--lora_rank 32 --distill_steps 4 --overwrite --batch_size 8 --max_steps ${STEPS:-1000} --learning_rate 1e-3 --lr_schedule cosine --warmup_steps 20
    --use_ema --ema_decay 0.99 --precision bf16 --val_share 0.01 --num_workers 1 --log_dir outputs"
python train_instruct_pix2pix.py --pretrained_model_name_or_path models/riff-pix2pix-mini --train_data_dir outputs/edit-pairs --output models/riff-pix2pix-mini-4-steps $recipe
