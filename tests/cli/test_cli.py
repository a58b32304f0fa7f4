from __future__ import annotations

import json
import os
import pty
import signal
import subprocess
import sys
import termios
import time
from collections.abc import Sequence
from pathlib import Path

import pytest
from conftest import ROOT

from riff import cli
from riff.errors import OptionError

SCRIPT = '''"""python greet.py --name Ada

Say hello.
"""

import sys
import time

from riff import cli
from riff.errors import DataError


def main(argv=None):
    parser = cli.ArgumentParser(__doc__)
    parser.add_argument("--name", default="world", help="whom to greet")
    parser.add_argument("--wait", type=float, default=0.0, help="seconds")
    parser.add_argument("--lines", type=int, default=1, help="how often")
    parser.add_flag("polite", default=True, help="say please")
    parser.add_device()
    parser.add_seed()
    parser.add_overwrite("the greeting")
    args = parser.parse_args(argv)
    if args.name == "nobody":
        raise DataError("names.json:\\n  no such name; give --name")
    if args.name == "bug":
        raise ZeroDivisionError("a mistake of the programmer")
    print("ready", flush=True)
    for _ in cli.progress_bar(range(args.lines), desc="greeting"):
        pass
    time.sleep(args.wait)
    for _ in range(args.lines):
        print(f"hello {args.name}, {args.polite}")
    return 3 if args.name == "three" else None


if __name__ == "__main__":
    cli.run(main)
'''


@pytest.fixture(scope="module")
def script(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("script") / "greet.py"
    path.write_text(SCRIPT)
    return path


def start(script: Path, *arguments: str) -> subprocess.Popen[str]:
    environment = os.environ | {"PYTHONPATH": str(ROOT), "COLUMNS": "120"}
    command = [sys.executable, str(script), *arguments]
    return subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def run(script: Path, *arguments: str) -> tuple[int, str, str]:
    process = start(script, *arguments)
    out, err = process.communicate(timeout=300)
    return process.returncode, out, err


@pytest.mark.parametrize("default", [True, False])
@pytest.mark.parametrize(
    ("words", "truth"),
    [
        (["--flag"], True),
        (["--flag", "True"], True),
        (["--flag=True"], True),
        (["--flag", "true"], True),
        (["--flag", "1"], True),
        (["--flag", "yes"], True),
        (["--flag", "False"], False),
        (["--flag=false"], False),
        (["--flag", "0"], False),
        (["--flag", "no"], False),
        (["--no-flag"], False),
        (["--no-flag", "True"], False),
        (["--no-flag", "False"], True),
        (["--flag", "False", "--flag"], True),
        (["--no-flag", "--flag", "on"], True),
    ],
)
def test_booleans_mean_what_they_say(words: list[str], truth: bool, default: bool) -> None:
    parser = cli.ArgumentParser(None)
    parser.add_flag("flag", default=default, help="a switch")
    assert parser.parse_args(words).flag is truth
    assert parser.parse_args([]).flag is default


@pytest.mark.parametrize("words", [["--flag", "maybe"], ["--flag", ""], ["--no-flag", "2"], ["--fla"]])
def test_other_words_are_refused(words: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    parser = cli.ArgumentParser(None)
    parser.add_flag("flag", default=True, help="a switch")
    with pytest.raises(SystemExit) as ended:
        parser.parse_args(words)
    assert ended.value.code == cli.EXIT_FAILURE
    assert words[0] in capsys.readouterr().err


def test_a_flag_leaves_what_follows_alone() -> None:
    parser = cli.ArgumentParser(None)
    parser.add_flag("flag", default=False, help="a switch")
    parser.add_argument("--name")
    args = parser.parse_args(["--flag", "--name", "x"])
    assert args.flag is True
    assert args.name == "x"


def test_help_shows_the_docstring_and_every_default(script: Path) -> None:
    status, out, _ = run(script, "--help")
    assert status == 0
    assert "python greet.py --name Ada\n\nSay hello.\n" in out
    for default in ("world", "0.0", "1", "True", "False", "auto", "0"):
        assert f"(default: {default})" in " ".join(out.split())
    assert "--[no-]polite" in out


def test_flags_stand_under_the_heading_before_them(capsys: pytest.CaptureFixture[str]) -> None:
    parser = cli.ArgumentParser("Say hello.")
    parser.add_argument("who", metavar="WHO")
    parser.heading("manners")
    parser.add_flag("polite", default=True, help="say please")
    parser.heading("time")
    parser.add_argument("--hours", type=int, required=True, help="of the day")
    parser.add_argument("--title", default="", help="such as Dr")
    with pytest.raises(SystemExit):
        parser.parse_args(["--help"])
    usage, *blocks = capsys.readouterr().out.split("\n\n")
    assert usage.startswith("usage: ")
    assert usage.split()[-4:] == ["--hours", "N", "WHO", "[flags]"]
    listed = {lines[0]: lines[1:] for lines in (block.splitlines() for block in blocks)}
    assert listed["manners:"][0].split() == ["--[no-]polite", "say", "please", "(default:", "True)"]
    assert [line.split() for line in listed["time:"]] == [
        ["--hours", "N", "of", "the", "day"],
        ["--title", "TEXT", "such", "as", "Dr"],
    ]
    assert parser.parse_args(["Ada", "--hours", "3"]).title == ""


def test_a_progress_bar_is_for_terminals(script: Path) -> None:
    assert run(script, "--lines", "3")[2] == ""
    ours, theirs = pty.openpty()
    termios.tcsetwinsize(theirs, (40, 100))
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    subprocess.run(
        [sys.executable, str(script), "--lines", "3"], env=environment, stdout=subprocess.DEVNULL, stderr=theirs, check=True
    )
    os.close(theirs)
    assert b"greeting: 100%" in os.read(ours, 10_000)
    os.close(ours)


def test_a_line_a_minute_where_there_is_no_terminal(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    now = 1000.0
    monkeypatch.setattr(time, "monotonic", lambda: now)
    lines = cli.MinuteLines(10, "songs")
    for done, seconds in ((1, 30), (2, 61), (3, 62), (5, 122)):
        now = 1000.0 + seconds
        lines.update(done, f"{done * 3} pairs")
    assert capsys.readouterr().err.splitlines() == ["2 of 10 songs, 6 pairs, 0:04:04 left", "5 of 10 songs, 15 pairs, 0:02:02 left"]


def test_main_with_flags_is_a_function_and_without_them_a_command(monkeypatch: pytest.MonkeyPatch) -> None:
    @cli.command
    def main(argv: Sequence[str] | None = None) -> int:
        if argv is None:
            raise OptionError("--flag: no")
        return len(argv)

    assert main(["--a", "--b"]) == 2
    with pytest.raises(SystemExit) as ended:
        main()
    assert ended.value.code == cli.EXIT_FAILURE


def test_status_of_success_is_zero_and_of_main_is_kept(script: Path) -> None:
    assert run(script, "--name", "Ada", "--polite", "False") == (0, "ready\nhello Ada, False\n", "")
    assert run(script, "--name", "three")[0] == 3


def test_what_a_person_causes_ends_in_one_line(script: Path) -> None:
    assert run(script, "--name", "nobody") == (2, "", "error: names.json: no such name; give --name\n")


def test_what_a_programmer_causes_keeps_its_traceback(script: Path) -> None:
    status, _, err = run(script, "--name", "bug")
    assert status == 1
    assert "Traceback" in err
    assert "ZeroDivisionError" in err


def test_interrupt_ends_with_130(script: Path) -> None:
    process = start(script, "--wait", "60")
    assert process.stdout is not None
    assert process.stdout.readline() == "ready\n"
    process.send_signal(signal.SIGINT)
    _, err = process.communicate(timeout=300)
    assert process.returncode == 130
    assert err == "interrupted\n"


def test_a_reader_that_leaves_is_no_error(script: Path) -> None:
    process = start(script, "--lines", "100000")
    assert process.stdout is not None
    assert process.stderr is not None
    process.stdout.readline()
    process.stdout.close()
    assert process.stderr.read() == ""
    assert process.wait(timeout=300) == 0
    process.stderr.close()


def test_manifest_says_how_a_result_was_made(tmp_path: Path) -> None:
    cli.write_manifest(tmp_path / "manifest.json", {"audio_dir": Path("raw-audio"), "seed": 3, "sizes": (1, 2)}, pairs=7)
    manifest = json.loads((tmp_path / "manifest.json").read_text())
    assert manifest["arguments"] == {"audio_dir": "raw-audio", "seed": 3, "sizes": [1, 2]}
    assert manifest["pairs"] == 7
    assert manifest["versions"]["torch"]
    assert manifest["device"]
    assert {"script", "commit", "time", "python"} <= set(manifest)
