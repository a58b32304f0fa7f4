#!/usr/bin/env bash
# How models/riff-pix2pix-mini was made, with the scripts that everyone uses; two CPU cores take about 45 minutes.
set -euo pipefail
cd "$(dirname "$0")/.."
songs=outputs/control-songs pairs=outputs/edit-pairs
python demo/make_songs.py --num_songs 700 --seconds 11 --seed 1 --edit_prompts 6 --output $songs --separated_share 0.3 --format flac
python preprocess_musdb.py --audio_dir $songs --output $pairs --prompt_file $songs/edit_prompts.json --target vocals --with_noop
python train_instruct_pix2pix.py --model mini --train_data_dir $pairs --output models/riff-pix2pix-mini --overwrite --unet_only \
    --batch_size 8 --max_steps 3500 --learning_rate 8e-4 --lr_schedule cosine --warmup_steps 50 --precision bf16 \
    --snr_gamma 1 --use_ema --ema_decay 0.999 --val_share 0.01 --logger_freq 1000 --num_validation_images 2 --log_dir outputs
# The image scale was chosen on catalogue 4, which nothing was trained or is measured on (the table in docs/edit_study.md, "Does it listen?"); four
# steps and no tune because neither more steps nor a composed tune make more of its takes count.
python demo/recommend.py models/riff-pix2pix-mini --guidance_scale 3 --image_guidance_scale 6 --steps 4 --melody none
