"""riff-cnet: controlled audio inpainting on spectrogram images."""

__version__ = "0.1.0"
