"""Write down how a model is best sampled, for everything that samples it without being told.

python demo/recommend.py models/riff-cnet-mini --guidance_scale 3 --strength 1.6
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from riff import cli


def main(argv: Sequence[str] | None = None) -> None:
    parser = cli.ArgumentParser(__doc__)
    parser.add_argument("model", type=Path, help="folder with a riff.json, as training leaves it")
    for name in ("guidance_scale", "strength", "image_guidance_scale"):
        parser.add_argument(f"--{name}", type=cli.GUIDANCE, help="recommended value (default: leave it to those who sample)")
    parser.add_argument("--steps", type=cli.DENOISING_STEPS, help="likewise")
    parser.add_argument("--melody", choices=("none", "compose"), help="recommended tune of the vocal (default: as above)")
    parser.add_argument("--melody_strength", type=cli.real(0, 1), help="likewise")
    args = vars(parser.parse_args(argv))
    from riff.errors import ModelError
    from riff.files import write_json
    from riff.models.sources import ORIGIN_FILE, read_origin

    model = args.pop("model")
    if not (model / ORIGIN_FILE).is_file():
        raise ModelError(f"{model}: holds no {ORIGIN_FILE}; name the folder of a trained model")
    origin = read_origin(model) | {"sampling": {name: value for name, value in args.items() if value is not None}}
    write_json(model / ORIGIN_FILE, origin)


if __name__ == "__main__":
    cli.run(main)
