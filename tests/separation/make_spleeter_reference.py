"""Make random-weight Spleeter checkpoints and what Spleeter does with them, for the tests of this project's own reader.

    .venv-spleeter/bin/python tests/separation/make_spleeter_reference.py FOLDER

Runs in the environment of envs/make_processing_env.sh and needs nothing of this project. The real weights cannot be
had everywhere; these come from a fixed seed, and every tensor is given values that a reader which mixed up names,
order or layout would betray. Writes, for 2stems, 4stems and 5stems:

    FOLDER/2stems/              checkpoint, model.index, model.data-00000-of-00001, model.meta, as in Spleeter's archive
    FOLDER/reference-2stems.npz   CASE/input and CASE/STEM, float32 (channels, samples) at 44.1 kHz
"""

from __future__ import annotations

import argparse
import json
import os
import tempfile
from pathlib import Path
from typing import Any

import numpy as np

os.environ["TF_CPP_MIN_LOG_LEVEL"] = "3"
SAMPLE_RATE = 44_100
SEGMENT = 508 * 1024  # samples: with the zeros in front, the 512 frames that the network takes at once
CONFIGURATIONS = ("2stems", "4stems", "5stems")
SEED = 7


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--configuration", choices=CONFIGURATIONS, action="append", help="again for more (default: all)")
    args = parser.parse_args()
    folder = args.folder
    quieten()
    for configuration in args.configuration or CONFIGURATIONS:
        checkpoint = folder / configuration
        make_checkpoint(configuration, checkpoint)
        np.savez(folder / f"reference-{configuration}.npz", **separate_cases(configuration, checkpoint))
        print(f"{folder}: {configuration} is made")


def quieten() -> None:
    """Keep TensorFlow's notices of what is old in it off the terminal."""
    import tensorflow as tf

    tf.compat.v1.logging.set_verbosity(tf.compat.v1.logging.ERROR)


def cases() -> dict[str, np.ndarray]:
    """Inputs by name, float32 (channels, samples)."""
    return {
        "stereo-1s": noise_and_tones(SAMPLE_RATE),
        "stereo-13s": noise_and_tones(13 * SAMPLE_RATE),  # more than one segment
        "samples-1": noise_and_tones(1),
        "samples-4095": noise_and_tones(4_095),
        "samples-44101": noise_and_tones(44_101),
        "mono": noise_and_tones(30_000)[:1],
        "silence": np.zeros((2, 20_000), np.float32),
    }


def noise_and_tones(samples: int) -> np.ndarray:
    """Stereo that differs left from right and from second to second, with silence in every fourth second."""
    rng = np.random.default_rng(samples)
    time = np.arange(samples) / SAMPLE_RATE
    second = time.astype(int)
    pitch = 220.0 * 2 ** (rng.integers(0, 24, second[-1] + 1) / 12)[second]
    tones = sum(np.sin(2 * np.pi * k * pitch * time) / k for k in range(1, 9))
    noise = rng.standard_normal((2, samples))
    mix = 0.1 * np.stack([tones, 0.6 * tones]) + 0.05 * noise * np.exp(-6 * (time - second))
    return (mix * (second % 4 != 3)).astype(np.float32)


def make_checkpoint(configuration: str, folder: Path) -> None:
    """Save a whole checkpoint of Spleeter's own graph, so that names and numbers of the tensors are those of a real one."""
    import tensorflow as tf
    from spleeter.model import InputProviderFactory, model_fn
    from spleeter.utils.configuration import load_configuration

    parameters = load_configuration(f"spleeter:{configuration}")
    folder.mkdir(parents=True, exist_ok=True)
    with tf.Graph().as_default(), tf.compat.v1.Session() as session:
        tf.compat.v1.set_random_seed(SEED)  # of the dropout while statistics are computed
        tf.compat.v1.train.create_global_step()
        inputs = InputProviderFactory.get(parameters).get_input_dict_placeholders()
        features = dict(inputs)  # the model adds its own to it
        model_fn(features, None, tf.estimator.ModeKeys.PREDICT, parameters)
        draw_weights(tf, session)
        feed = {inputs["waveform"]: noise_and_tones(SEGMENT).T, inputs["audio_id"]: ""}
        draw_statistics(tf, session, feed)
        tf.compat.v1.train.Saver(save_relative_paths=True).save(session, str(folder / "model"))


def draw_weights(tf, session) -> None:
    """Kernels of He's variance, biases and the affine part of batch norm well away from 0 and 1."""
    rng = np.random.default_rng(SEED)
    values = {}
    for variable in tf.compat.v1.global_variables():
        shape = variable.shape.as_list()
        kind = variable.op.name.split("/")[-1]
        if kind == "kernel":
            transposed = "transpose" in variable.op.name  # (height, width, out, in) instead of (height, width, in, out)
            inputs = shape[0] * shape[1] * shape[3 if transposed else 2] / (4 if transposed else 1)
            value = rng.standard_normal(shape) * np.sqrt(2 / inputs)
        elif kind in ("gamma", "moving_variance"):
            value = rng.uniform(0.5, 1.5, shape)
        elif kind == "global_step":
            value = np.int64(1)
        else:
            value = 0.2 * rng.standard_normal(shape)
        values[variable] = value
    assign(session, values)


def draw_statistics(tf, session, feed: dict) -> None:
    """Moving means and variances near those of the input.

    Without them the activations of random weights run off, and masks that are all 0 or 1 would hide an error.
    """
    rng = np.random.default_rng(SEED + 1)
    graph = tf.compat.v1.get_default_graph()
    variables = {variable.op.name: variable for variable in tf.compat.v1.global_variables()}
    layers = [name.rsplit("/", 1)[0] for name in variables if name.endswith("/moving_mean")]
    # Batch norm stands in a branch on the training phase; there it gives out the mean and the variance of the batch.
    moments = {layer: [graph.get_tensor_by_name(f"{layer}/cond/Identity_{k}:0") for k in (1, 2)] for layer in layers}
    training = {graph.get_tensor_by_name("keras_learning_phase:0"): True}
    values = {}
    for layer, (mean, variance) in session.run(moments, {**feed, **training}).items():
        shift = 0.3 * np.sqrt(variance) * rng.standard_normal(mean.shape)
        values[variables[f"{layer}/moving_mean"]] = mean + shift
        values[variables[f"{layer}/moving_variance"]] = variance * rng.uniform(0.5, 2.0, variance.shape) + 1e-3
    assign(session, values)


def assign(session, values: dict) -> None:
    """Set all variables in one run, where one run each takes a minute; initialisers are fed instead of computed."""
    initializers = {variable.initializer: value for variable, value in values.items()}
    session.run(list(initializers), {operation.inputs[1]: value for operation, value in initializers.items()})


def separate_cases(configuration: str, checkpoint: Path) -> dict[str, Any]:
    """Every case and its stems, as Spleeter's own Separator gives them."""
    from spleeter.separator import Separator
    from spleeter.utils.configuration import load_configuration

    parameters = load_configuration(f"spleeter:{configuration}")
    parameters["model_dir"] = str(checkpoint.resolve())
    arrays: dict[str, Any] = {}
    with tempfile.TemporaryDirectory() as folder:
        descriptor = Path(folder) / "configuration.json"
        descriptor.write_text(json.dumps(parameters), encoding="utf-8")
        separator = Separator(str(descriptor), multiprocess=False)
        for name, waveform in cases().items():
            arrays[f"{name}/input"] = waveform
            for stem, data in separator.separate(waveform.T).items():
                arrays[f"{name}/{stem}"] = data.T.astype(np.float32)
    return arrays


if __name__ == "__main__":
    main()
