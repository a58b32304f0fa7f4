"""All scripts share one vocabulary: each thing has one name, older names are accepted, and times are written in one way."""

from __future__ import annotations

import importlib
import re
from pathlib import Path

import pytest
from conftest import ROOT
from script_parser import flags_of, parser_of

from riff import __version__, cli
from riff.cli.numbers import Number, parse_time
from riff.cli.vocabulary import OLDER_NAMES, with_current_names

PLACES = (ROOT, ROOT / "tools", ROOT / "demo")
SCRIPTS = sorted(
    path.relative_to(ROOT).with_suffix("").as_posix().replace("/", ".")
    for place in PLACES
    for path in place.glob("*.py")
    if re.search(r"ArgumentParser\(|riff\.app\.command", path.read_text())
)
MEANINGS = (  # what the help of a flag says, and the names that it has then
    (r"^denoising steps$", {"steps"}),
    (r"^folder for ", {"output"}),
    (r"guidance by the (prompt|instruction)|classifier-free guidance", {"guidance_scale"}),
    (r"guidance (by|of) the (input|image)", {"image_guidance_scale"}),
    (r"^(folder, \.ckpt or hub id|control or edit model to offer)|^pipeline to train", {"model"}),
    (r"^each song's prompt|their prompts|\"edit_prompt\": ", {"prompt_file"}),
    (r"^folder of (songs|MUSDB18)|^songs to train on", {"audio_dir"}),
    (r"^pairs: a folder|^edit pairs: a folder|^folder of (edit )?pairs", {"train_data_dir", "dir", "val_dir"}),
)


def test_the_scripts_are_found() -> None:
    assert {"app", "inpaint_song", "tools.evaluate_samples", "demo.quickstart"} <= set(SCRIPTS)
    assert len(SCRIPTS) > 20


@pytest.mark.parametrize("script", SCRIPTS)
def test_each_thing_has_one_name(script: str) -> None:
    older = {name for names in OLDER_NAMES.values() for name in names}
    for action in flags_of(script):
        assert action.dest not in older, f"--{action.dest} is called otherwise in other scripts"
        assert {f"--{name}" for name in OLDER_NAMES.get(action.dest, ())} <= set(action.option_strings)
        for meaning, names in MEANINGS:
            assert action.dest in names or not re.search(meaning, action.help), f"--{action.dest}: {action.help}"


@pytest.mark.parametrize("script", SCRIPTS)
def test_times_are_written_in_one_way(script: str) -> None:
    for action in flags_of(script):
        if re.search("(^|_)(time|seconds|start|end|fade)$", action.dest):
            assert isinstance(action.type, Number)
            assert action.type.type is parse_time
            assert action.type("0:07.5") == action.type("7.5") == 7.5


@pytest.mark.parametrize(
    ("text", "seconds"),
    [("5", 5), (".5", 0.5), ("0:05", 5), ("1:02.5", 62.5), ("90:00", 5400), ("1:00:00", 3600), ("01:02:03:04", 93_784)],
)
def test_a_time_in_seconds(text: str, seconds: float) -> None:
    assert cli.seconds(text) == seconds


@pytest.mark.parametrize("text", ["", ":", "0:", "-1", "-1:00", "0:-5", "1.5:00", "nan", "inf", "0:1e3", "0:00:00:00:01", "5s"])
def test_what_is_no_time(text: str) -> None:
    with pytest.raises(cli.argparse.ArgumentTypeError, match="a time such as 32, 0:32"):
        cli.seconds(text)


@pytest.mark.parametrize("script", SCRIPTS)
def test_help_fits_the_terminal_and_names_each_flag_once(
    script: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("COLUMNS", "72")
    parser = parser_of(script)
    with pytest.raises(SystemExit):
        cli.argparse.ArgumentParser.parse_args(parser, ["--help"])
    lines = capsys.readouterr().out.splitlines()
    commands = [line for line in (parser.description or "").splitlines() if line.startswith(" ")]
    too_long = [line for line in lines if len(line) > 72 and line not in commands and len(line.split()) > 1]
    assert all(re.match(r"  (--|\{)\S+ [{\[]", line) for line in too_long)  # choices, which are not divided
    shown = [line.split()[0] for line in lines if line.startswith("  --") and line not in commands]
    names = [f"--[no-]{action.dest}" if action.metavar == "BOOL" else action.option_strings[0] for action in flags_of(script)]
    assert shown == ["--version", *names]


@pytest.mark.parametrize("script", SCRIPTS)
def test_version(script: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        cli.argparse.ArgumentParser.parse_args(parser_of(script), ["--version"])
    assert not ended.value.code
    assert capsys.readouterr().out == f"riff-cnet {__version__}\n"


def test_the_documents_say_what_each_script_is_for() -> None:
    table = (ROOT / "docs" / "README.md").read_text().partition("## Pages")[0]
    for script in SCRIPTS:
        assert script.startswith("demo.") or f"{script.replace('.', '/')}.py" in table


def test_the_version_is_the_packages() -> None:
    assert f'\nversion = "{__version__}"\n' in (ROOT / "pyproject.toml").read_text()


def test_flags_of_earlier_runs_by_their_names_of_today(tmp_path: Path) -> None:
    earlier = {"output_dir": "a", "scale": 2.0, "mixed_precision": None, "seed": 3}
    assert with_current_names(earlier) == {"output": "a", "guidance_scale": 2.0, "precision": None, "seed": 3}
    file = tmp_path / "config.yaml"
    file.write_text("output_dir: a\nmax_train_steps: 7\nmixed_precision: fp16\nmax_train_time: 00:00:02:30\n")
    args = importlib.import_module("train_instruct_pix2pix").parse_args(["--config", str(file), "--max_steps", "8"])
    assert (args.output, args.max_steps, args.precision, args.max_train_time) == (Path("a"), 8, "16", 150.0)
