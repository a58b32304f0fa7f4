"""Result folders: nobody else's files are replaced, an input never, and what is left is one run's whole result."""

from __future__ import annotations

import json
import os
import shutil
import stat
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from conftest import ROOT
from safetensors.torch import save_file

import cnet_riff_add_control
import cnet_riff_training
import inference_instruct_pix2pix
import inpaint_song
import sample_riff_cnet
import train_instruct_pix2pix
from demo import quickstart
from riff import cli
from riff.audio.io import write_audio
from riff.cli import manifest
from riff.data.export import write_dataset
from riff.data.pack import ShardPlan
from riff.data.records import EDIT_PAIRS
from riff.errors import OptionError, RiffError
from riff.files import atomic_folder, atomic_path, only_writer, write_json
from riff.separation.separator import SongOpener
from tools import convert_checkpoint, evaluate_samples, inspect_dataset, pack_dataset, separate_audio

POSIX_ONLY = ("fcntl", "grp", "pwd", "resource", "termios")


def results(folder: Path, **more: object) -> cli.ResultFolder:
    return cli.ResultFolder(folder, "--output", ("mix*.wav", "clips/*"), **more)  # type: ignore[arg-type]


def run(folder: Path, *names: str, ends_in: type[BaseException] | None = None, **more: object) -> None:
    """A run that writes its files, each with the number of files in it, and ends in an error if one is given."""
    with results(folder, **more).written() as place:
        for name in names:
            (place / name).parent.mkdir(exist_ok=True)
            (place / name).write_text(str(len(names)))
        if ends_in is not None:
            raise ends_in
        write_json(place / "manifest.json", {"run": len(names)})


def contents(folder: Path) -> dict[str, str]:
    return {path.relative_to(folder).as_posix(): path.read_text() for path in folder.rglob("*") if path.is_file()}


def test_a_result_is_its_files_and_a_manifest_that_lists_them(tmp_path: Path) -> None:
    run(tmp_path / "new" / "out", "mix.wav", "clips/a.png")
    found = contents(tmp_path / "new" / "out")
    assert json.loads(found.pop("manifest.json")) == {"run": 2, "files": ["clips/a.png", "mix.wav"]}
    assert found == {"mix.wav": "2", "clips/a.png": "2"}


@pytest.mark.parametrize("name", ["mix.wav", "mix-7.wav", "clips/mine.png", "manifest.json"])
def test_a_file_of_somebody_else_is_replaced_only_when_told(tmp_path: Path, name: str) -> None:
    (tmp_path / name).parent.mkdir(exist_ok=True)
    (tmp_path / name).write_text("mine")
    (tmp_path / "notes.txt").write_text("mine too")
    before = contents(tmp_path)
    with pytest.raises(OptionError, match=r"--output .*--overwrite"), results(tmp_path).written():
        pytest.fail("work was begun")
    assert contents(tmp_path) == before
    run(tmp_path, "mix.wav", overwrite=True)
    assert contents(tmp_path)["notes.txt"] == "mine too"
    assert name in ("mix.wav", "manifest.json") or contents(tmp_path)[name] == "mine"  # not of this result's files


def test_what_an_earlier_run_wrote_goes_and_nothing_else(tmp_path: Path) -> None:
    run(tmp_path, "mix-0.wav", "mix-1.wav", "clips/a.png")
    (tmp_path / "mix-mine.wav").write_text("mine")
    with pytest.raises(OptionError, match="holds results already; use another folder, or --overwrite"):
        results(tmp_path).check()
    run(tmp_path, "mix-0.wav", overwrite=True)
    assert contents(tmp_path).keys() == {"mix-0.wav", "mix-mine.wav", "manifest.json"}
    assert not (tmp_path / "clips").exists()


@pytest.mark.parametrize("overwrite", [False, True])
def test_an_input_is_never_replaced(tmp_path: Path, overwrite: bool) -> None:
    folder = tmp_path / "d"
    run(folder, "mix.wav", "clips/a.png")
    (tmp_path / "link").symlink_to(folder, target_is_directory=True)
    (tmp_path / "song.wav").symlink_to(folder / "mix.wav")
    before = contents(folder)
    for path, source in (
        (folder, folder / "mix.wav"),
        (tmp_path / "link", folder / "mix.wav"),
        (folder, tmp_path / "link" / "mix.wav"),
        (folder, tmp_path / "song.wav"),
        (folder, folder / "clips"),
    ):
        with pytest.raises(OptionError, match="its own input"):
            run(path, "mix.wav", inputs=["a/hub-id", None, source], overwrite=overwrite)
    assert contents(folder) == before


def test_a_folder_that_is_read_keeps_its_files(tmp_path: Path) -> None:
    write_json(tmp_path / "manifest.json", {"settings": {}})  # of pairs
    with pytest.raises(OptionError, match="its own input"):
        run(tmp_path, "mix.wav", inputs=[tmp_path], overwrite=True)
    run(tmp_path / "out", "mix.wav", inputs=[tmp_path])
    run(tmp_path / "out", "mix.wav", inputs=[tmp_path], overwrite=True)
    (tmp_path / "song.wav").write_text("mine")
    run(tmp_path / "more", "mix.wav", inputs=[tmp_path / "song.wav"])


@pytest.mark.parametrize("error", [KeyboardInterrupt, RiffError])
def test_a_run_that_ends_early_leaves_what_was_there(tmp_path: Path, error: type[BaseException]) -> None:
    run(tmp_path / "old", "mix-0.wav", "mix-1.wav")
    before = contents(tmp_path)
    for folder in (tmp_path / "old", tmp_path / "new"):
        with pytest.raises(error):
            run(folder, "mix-0.wav", overwrite=True, ends_in=error)
    assert contents(tmp_path) == before
    assert not (tmp_path / "new").exists()


def test_a_run_that_dies_while_it_moves_its_files_leaves_no_old_manifest(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run(tmp_path, "mix-0.wav", "mix-1.wav", "mix-2.wav")
    replace = os.replace

    def die_at_the_second(source: Path, goal: Path) -> None:
        if Path(goal).name == "mix-1.wav":
            raise KeyboardInterrupt
        replace(source, goal)

    monkeypatch.setattr(cli.results.os, "replace", die_at_the_second)
    with pytest.raises(KeyboardInterrupt):
        run(tmp_path, "mix-0.wav", "mix-1.wav", overwrite=True)
    monkeypatch.undo()
    assert json.loads((tmp_path / "manifest.json").read_text())["unfinished"]
    run(tmp_path, "mix-5.wav", overwrite=True)
    assert contents(tmp_path).keys() == {"mix-5.wav", "manifest.json"}


def test_a_second_run_is_refused_and_a_dead_one_is_not_waited_for(tmp_path: Path) -> None:
    with results(tmp_path).written() as place:
        with pytest.raises(OptionError, match=rf"{tmp_path}: process {os.getpid()} on .* is writing there"):
            run(tmp_path, "mix.wav", overwrite=True)
        write_json(place / "manifest.json", {})
    hold = """
import sys, time
from pathlib import Path
from riff import cli
with cli.ResultFolder(Path(sys.argv[1]), "--output", ()).written():
    print("ready", flush=True)
    time.sleep(60)
"""
    process = subprocess.Popen(
        [sys.executable, "-c", hold, str(tmp_path / "b")],
        stdout=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
    )
    assert process.stdout is not None
    assert process.stdout.readline() == "ready\n"
    with pytest.raises(OptionError, match=f"process {process.pid} on"):
        run(tmp_path / "b", "mix.wav")
    process.kill()
    process.wait()
    run(tmp_path / "b", "mix.wav")
    assert contents(tmp_path / "b").keys() == {"mix.wav", "manifest.json"}
    assert [path.name for path in (tmp_path / "b").iterdir() if path.name.startswith(".")] == []


def test_a_manifest_is_believed_of_results_alone(tmp_path: Path) -> None:
    folder = tmp_path / "d"
    (tmp_path / "mix.wav").write_text("outside")
    folder.mkdir()
    (folder / "shard.tar").write_text("of another command")
    (folder / "mixes").symlink_to(tmp_path, target_is_directory=True)
    write_json(folder / "manifest.json", {"files": ["../mix.wav", "mixes/mix.wav", str(tmp_path / "mix.wav"), "shard.tar", 7]})
    run(folder, "mix.wav", overwrite=True)
    assert (tmp_path / "mix.wav").read_text() == "outside"
    assert (folder / "shard.tar").exists()


def test_what_is_made_anew_each_time_replaces_its_own_alone(tmp_path: Path) -> None:
    run(tmp_path, "mix-0.wav", renewed=True)
    run(tmp_path, "mix-1.wav", renewed=True)
    assert contents(tmp_path).keys() == {"mix-1.wav", "manifest.json"}
    (tmp_path / "mix-2.wav").write_text("mine")
    with pytest.raises(OptionError, match=r"holds mix-2\.wav"):
        run(tmp_path, "mix-1.wav", renewed=True)


# The commands: refused before any work, whatever the model.
COMMANDS = {
    "inpaint_song": (inpaint_song, ("--audio", "D/mix.wav", "--output", "D")),
    "sample": (sample_riff_cnet, ("--audio", "D/accompaniment.wav", "--output", "D")),
    "sample a control": (sample_riff_cnet, ("--control", "D/control.png", "--output", "D")),
    "edit": (inference_instruct_pix2pix, ("--audio", "D/000-a/sample.wav", "--base_save_path", "D")),
    "evaluate": (evaluate_samples, ("--experiment", "ladder", "--vocals", "D/clips", "--output", "D")),
    "convert": (convert_checkpoint, ("--input", "D/cnet.ckpt", "--base", "mini", "--output", "D")),
    "convert back": (convert_checkpoint, ("--input", "D", "--output", "D/unet.safetensors")),
    "add control": (cnet_riff_add_control, ("--base", "D/base", "--output", "D")),
}


@pytest.mark.parametrize("command", COMMANDS)
def test_no_command_replaces_its_input(tmp_path: Path, command: str) -> None:
    module, words = COMMANDS[command]
    for name in ("mix.wav", "accompaniment.wav", "control.png", "000-a/sample.wav", "clips/a.wav", "cnet.ckpt", "unet.safetensors"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text("mine")
    (tmp_path / "base").mkdir()
    before = contents(tmp_path)
    flags = [word.replace("D", str(tmp_path), 1) if word.startswith("D") else word for word in words]
    for more in ([], ["--overwrite"]):
        refused = "own input|no model of this project"
        with pytest.raises(OptionError, match=refused if more else f"--overwrite|{refused}"):
            module.main([*flags, *more])
    assert contents(tmp_path) == before


@pytest.mark.parametrize("experiments", [("need",), ("need", "seeds")])
def test_an_evaluation_replaces_nothing(tmp_path: Path, experiments: tuple[str, ...]) -> None:
    page = tmp_path / "index.html" if len(experiments) == 1 else tmp_path / "seeds" / "index.html"
    page.parent.mkdir(exist_ok=True)
    page.write_text("mine")
    with pytest.raises(OptionError, match=r"holds index\.html"):
        evaluate_samples.main(["--experiment", *experiments, "--songs", "demo:1", "--output", str(tmp_path)])


def test_an_inspection_replaces_nothing(pairs: Path, tmp_path: Path) -> None:
    (tmp_path / "index.html").write_text("mine")
    flags = [str(pairs), "--output", str(tmp_path), "--num_shown", "0", "--num_workers", "1"]
    with pytest.raises(OptionError, match=r"holds index\.html"):
        inspect_dataset.main(flags)
    inspect_dataset.main([*flags, "--overwrite"])
    assert inspect_dataset.main(flags) == 0
    assert set(json.loads((tmp_path / "report.json").read_text())["files"]) == {"index.html", "sheet.png"}


def test_separated_parts_are_all_there_or_none(tmp_path: Path) -> None:
    song = tmp_path / "stems" / "vocals" / "vocals.wav"  # whose own stems would go there
    for name in ("vocals", "accompaniment"):
        write_audio(song.with_name(f"{name}.wav"), torch.zeros(2, 100).numpy() + 0.1, 44_100)
    before = song.read_bytes()
    flags = ["--audio", str(song), "--output", str(tmp_path / "stems"), "--separator", "stems"]
    assert separate_audio.main([*flags, "--overwrite"]) == 2
    (tmp_path / "new" / "vocals").mkdir(parents=True)
    (tmp_path / "new" / "vocals" / "accompaniment.wav").write_text("mine")
    with pytest.raises(OptionError, match=r"accompaniment\.wav: is there already"):
        separate_audio.separate_to_files(song, SongOpener(None), tmp_path / "new" / "vocals")
    assert song.read_bytes() == before
    assert contents(tmp_path / "new") == {"vocals/accompaniment.wav": "mine"}


def test_a_model_is_attached_anew_beside_what_is_not_of_it(tiny_base: Path, tmp_path: Path) -> None:
    flags = ["--base", str(tiny_base), "--output", str(tmp_path)]
    (tmp_path / "notes.txt").write_text("mine")
    for more in ([], ["--overwrite"]):
        with pytest.raises(OptionError, match=r"holds notes\.txt, and no model of this project"):
            cnet_riff_add_control.main([*flags, *more])
    (tmp_path / "notes.txt").unlink()
    cnet_riff_add_control.main(flags)
    (tmp_path / "notes.txt").write_text("mine")
    with pytest.raises(OptionError, match="holds a model already"):
        cnet_riff_add_control.main(flags)
    cnet_riff_add_control.main([*flags, "--overwrite"])
    files = {path.relative_to(tmp_path).as_posix() for path in tmp_path.rglob("*") if path.is_file()}
    listed = json.loads((tmp_path / "riff.json").read_text())["files"]
    assert {*listed, "notes.txt"} == files
    assert "controlnet/diffusion_pytorch_model.safetensors" in listed


def test_a_data_set_on_disk_and_shards_leave_other_files_alone(pairs: Path, tmp_path: Path) -> None:
    (tmp_path / "set" / "data").mkdir(parents=True)
    (tmp_path / "set" / "data" / "mine.csv").write_text("mine")
    with pytest.raises(OptionError, match="holds other files than a data set"):
        write_dataset(ShardPlan(pairs, EDIT_PAIRS, {}), "card", tmp_path / "set", overwrite=True)
    assert contents(tmp_path / "set") == {"data/mine.csv": "mine"}
    flags = ["--data_dir", str(pairs), "--output", str(tmp_path / "shards"), "--pairs_per_shard", "4"]
    pack_dataset.main(flags)
    assert json.loads((tmp_path / "shards" / "manifest.json").read_text())["files"] == ["pairs-000000.tar", "pairs-000001.tar"]
    with only_writer(tmp_path / "shards"), pytest.raises(OptionError, match="is writing there"):
        pack_dataset.main(flags)


def test_the_quickstart_replaces_nobodys_page(tmp_path: Path) -> None:
    (tmp_path / "index.html").write_text("mine")
    with pytest.raises(OptionError, match=r"holds index\.html"):
        quickstart.main(["--output", str(tmp_path)])
    assert contents(tmp_path) == {"index.html": "mine"}


# Where there is no git, or that of somebody else; files for others; other systems.


def test_without_git_the_commit_is_not_known(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    assert manifest._commit() == subprocess.check_output(["git", "rev-parse", "HEAD"], cwd=ROOT, text=True).strip()
    monkeypatch.setenv("PATH", str(tmp_path))
    cli.write_manifest(tmp_path / "manifest.json", {})
    assert json.loads((tmp_path / "manifest.json").read_text())["commit"] is None


def test_an_installed_copy_does_not_take_the_commit_of_what_lies_around_it(tmp_path: Path) -> None:
    for place in (tmp_path / "a" / "site-packages", tmp_path / "b"):
        shutil.copytree(ROOT / "riff", place / "riff", ignore=shutil.ignore_patterns("__pycache__"))
        top = place.parent if place.name == "site-packages" else place
        (top / "file").write_text("somebody else's")
        for words in (["init", "-q"], ["add", "file"], ["-c", "user.name=a", "-c", "user.email=a@b", "commit", "-qm", "a"]):
            subprocess.run(["git", *words], cwd=top, check=True)
        code = "from riff.cli.manifest import _commit, ROOT; print(ROOT, _commit())"
        done = subprocess.run(
            [sys.executable, "-c", code],
            cwd=place,
            capture_output=True,
            text=True,
            check=True,
            env={**os.environ, "PYTHONPATH": str(place)},
        )
        assert done.stdout.split() == [str(place), "None"]


@pytest.mark.parametrize("umask", [0o022, 0o002, 0o077])
def test_weights_have_the_usual_permissions(tmp_path: Path, umask: int) -> None:
    before = os.umask(umask)
    try:
        with atomic_path(tmp_path / "weights.safetensors") as temporary:
            save_file({"a": torch.zeros(1)}, temporary)
        with atomic_folder(tmp_path / "model") as folder:
            (folder / "unet").mkdir()
            save_file({"a": torch.zeros(1)}, folder / "unet" / "weights.safetensors")
    finally:
        os.umask(before)
    modes = {stat.S_IMODE(path.stat().st_mode) for path in tmp_path.rglob("*") if path.is_file()}
    assert modes == {0o666 & ~umask}
    assert len(list(tmp_path.rglob("*"))) == 4


def test_every_script_answers_help_without_what_windows_lacks() -> None:
    code = f"""
import runpy, sys
sys.modules.update(dict.fromkeys({POSIX_ONLY!r}))  # importing them fails
for script in sys.argv[1:]:
    sys.argv = [script, "--help"]
    try:
        runpy.run_path(script, run_name="__main__")
    except SystemExit as end:
        assert not end.code, script
"""
    scripts = [path for folder in (ROOT, ROOT / "demo", ROOT / "tools") for path in sorted(folder.glob("*.py"))]
    named = [str(path) for path in scripts if 'if __name__ == "__main__":' in path.read_text(encoding="utf-8")]
    assert len(named) > 20
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    done = subprocess.run(
        [sys.executable, "-c", code, *named], capture_output=True, text=True, env=environment, timeout=120, check=False
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("usage: ") == len(named)


def test_the_lock_leaves_nothing_behind(tmp_path: Path) -> None:
    with only_writer(tmp_path):
        assert f"process {os.getpid()}" in (tmp_path / ".writer").read_text()
    assert list(tmp_path.iterdir()) == []


def test_the_quickstart_overwrites_only_what_it_made(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    commands: list[list[str]] = []

    def ran(command: list[str], check: bool) -> subprocess.CompletedProcess[str]:
        commands.append(command[2:])
        return subprocess.CompletedProcess(command, 0)

    monkeypatch.setattr(quickstart.subprocess, "run", ran)
    for steps in (1, 1, 2):
        quickstart.run_stage(quickstart.Stage("samples", ("sample_riff_cnet.py", "--steps", steps), tmp_path / "complete"), "")
    assert commands == [["--steps", "1"], ["--steps", "2", "--overwrite"]]


@pytest.mark.parametrize("inside", ["", "part"])
def test_a_model_never_replaces_the_one_that_it_is_made_from(tiny_base: Path, tmp_path: Path, inside: str) -> None:
    shutil.copytree(tiny_base, tmp_path / "out" / inside)
    flags = ["--base", str(tmp_path / "out" / inside), "--output", str(tmp_path / "out"), "--overwrite"]
    with pytest.raises(OptionError, match="would replace its own input"):
        cnet_riff_add_control.main(flags)
    model, output = str(tmp_path / "out" / inside), str(tmp_path / "out")
    with pytest.raises(OptionError, match="would replace its own input"):
        cnet_riff_training.main(["--model", model, "--output", output, "--overwrite", "--device", "cpu"])
    with pytest.raises(OptionError, match="would replace its own input"):
        train_instruct_pix2pix.main(
            ["--pretrained_model_name_or_path", model, "--output_dir", str(tmp_path / "out"), "--overwrite"]
        )
