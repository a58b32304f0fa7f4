#!/usr/bin/env bash
# How the few-step adapters beside the small models were made, on the pairs of demo/train_riff_*_mini.sh; two CPU cores take about an hour.
set -euo pipefail
cd "$(dirname "$0")/.."
recipe="--lora_rank 32 --distill_steps 4 --overwrite --batch_size 8 --max_steps ${STEPS:-1000} --learning_rate 1e-3 --lr_schedule cosine --warmup_steps 20
    --use_ema --ema_decay 0.99 --precision bf16 --val_share 0.01 --num_workers 1 --log_dir outputs"
python train_instruct_pix2pix.py --pretrained_model_name_or_path models/riff-pix2pix-mini --train_data_dir outputs/edit-pairs --output models/riff-pix2pix-mini-4-steps $recipe
python cnet_riff_training.py --model models/riff-cnet-mini --train_data_dir outputs/control-pairs --output models/riff-cnet-mini-4-steps $recipe
