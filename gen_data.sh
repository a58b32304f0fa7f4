#!/usr/bin/env bash
# Make the training pairs of every song in raw-audio/ (more flags go through to make_cnet_dataset.py).
python make_cnet_dataset.py --audio_dir raw-audio/ --output train-data-full/ --prompt_file prompt_file.json "$@"
