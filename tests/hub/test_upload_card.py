"""The model card, its figures, and the scan for secrets."""

from __future__ import annotations

import json
import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hub_card_rules import broken_rules
from huggingface_hub import ModelCard
from hypothesis import given
from hypothesis import strategies as st

from riff.errors import OptionError, RiffError
from riff.files import is_own_card, sign_card, write_json
from riff.hub.card import RunCard, read_run_card
from riff.hub.files import collect, find_secret, has_secret_name, without_home
from riff.hub.publish import announce, refuse_secrets

REPO = "me/riff-cnet-test"
SHEETS = {f"image_log/version_3/step={step:06d}/a [song]+{n}-sheet.png" for step in (200, 1000) for n in range(6)}
SOUNDS = {path.replace("-sheet.png", ".wav") for path in SHEETS}
PIPELINE = {"model_index.json", "README.md"}


@pytest.mark.parametrize(
    ("base", "base_model", "licence"),
    [
        ("riffusion/riffusion-model-v1", "riffusion/riffusion-model-v1", "creativeml-openrail-m"),
        ("mini", None, "mit"),
        ("models/riffusion-mini", None, "mit"),
        ("/home/me/secret/base.ckpt", None, "creativeml-openrail-m"),
        (None, None, "creativeml-openrail-m"),
    ],
)
def test_metadata(base: str | None, base_model: str | None, licence: str) -> None:
    card = RunCard(3, base, {"learning_rate": 1e-5, "resume": "/home/me/x"}, {}, steps=1000)
    text = card.text(REPO, PIPELINE | SHEETS)
    assert broken_rules(text, "model") == []
    metadata = ModelCard(text).data.to_dict()
    assert (metadata.get("base_model"), metadata["license"]) == (base_model, licence)
    assert metadata["pipeline_tag"] == "image-to-image"
    assert {"diffusers", "controlnet", "riffusion", "text-to-audio"} <= set(metadata["tags"])
    assert "model-index" not in metadata  # there are no figures
    assert "learning_rate: 1e-05" in text
    assert "- steps: 1000" in text
    assert f'from_pretrained("{REPO}")' in text
    assert "/home/me" not in text
    if base_model:
        assert f"[{base_model}](https://huggingface.co/{base_model})" in text
    bare = card.text(REPO, {"README.md"})
    assert "library_name" not in ModelCard(bare).data.to_dict()
    assert "How to load" not in bare


def test_a_trained_part_names_its_base() -> None:
    part = {"config.json", "riff.json"}
    assert "--base" not in RunCard(3, "mini", {}, {}).text(REPO, part)
    assert "--base base-7" in RunCard(3, "/home/me/base-7", {}, {}).text(REPO, part)
    edit = RunCard(3, "mini", {"conditioning_dropout_prob": None, "snr_gamma": 5.0}, {}).text(REPO, part)
    assert "instruct-pix2pix" in metadata_of(edit).tags
    assert f"inference_instruct_pix2pix.py --model {REPO}" in edit
    assert "snr_gamma: 5.0" in edit


def test_samples_are_those_of_the_newest_step() -> None:
    text = RunCard(3, "mini", {}, {}).text(REPO, PIPELINE | SHEETS | SOUNDS)
    assert "Generated at step 1000:" in text
    images = re.findall(r"!\[.*\]\((.*)\)", text)
    assert images == [f"image_log/version_3/step%3D001000/a%20%5Bsong%5D%2B{n}-sheet.png" for n in range(4)]
    sounds = re.findall(r'<audio controls src="(.*)"></audio>', text)
    assert sounds[0] == f"https://huggingface.co/{REPO}/resolve/main/{images[0].replace('-sheet.png', '.wav')}"
    assert len(sounds) == 4
    assert "<audio" not in RunCard(3, "mini", {}, {}).text(REPO, SHEETS)
    assert "Samples" not in RunCard(2, "mini", {}, {}).text(REPO, SHEETS)


@pytest.fixture
def run(tmp_path: Path) -> Path:
    run = tmp_path / "lightning_logs/version_3"
    run.mkdir(parents=True)
    (run / "config.yaml").write_text("max_steps: 400\nbase: mini\n")
    lines = [
        {"step": 0, "loss": 1.5},
        {"step": 0, "edge_f1_floor": 0.25, "edge_f1_ceiling": 0.75},
        {"step": 200, "loss": 0.25},
        {"step": 400, "loss": 0.5},
        {"step": 400, "edge_f1": 0.625},
    ]
    (run / "validation.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines) + '{"step": 600, "lo')
    return run


def metadata_of(text: str) -> Any:
    """A card's metadata as the library reads it."""
    return ModelCard(text).data


def listed(text: str) -> dict[str, float]:
    """metric name -> value in a card's model-index."""
    return {result.metric_name or "": result.metric_value for result in metadata_of(text).eval_results or []}


def test_figures_of_the_run(run: Path) -> None:
    text = read_run_card(REPO, run, None).text(REPO, PIPELINE)
    assert broken_rules(text, "model") == []
    assert "| loss (mean squared error of the noise) | 1.5 | 0.5 | 0.25 |" in text
    assert "edge F1 of the samples (without control 0.250, true mixes through the autoencoder 0.750) | 0.625" in text
    assert "last validation, step 400" in text
    assert list(listed(text).values()) == [0.5, 0.625]
    (run / "validation.jsonl").write_text('{"step": 400, "edge_f1": 0.625}\n')  # no held-out songs
    text = read_run_card(REPO, run, None).text(REPO, PIPELINE)
    assert "0.625" in text
    assert "held-out" not in text
    assert listed(text) == {}
    (run / "validation.jsonl").unlink()
    assert "Figures" not in read_run_card(REPO, run, None).text(REPO, PIPELINE)


def test_figures_of_a_report(run: Path, tmp_path: Path) -> None:
    model, report = tmp_path / "model", tmp_path / "report"
    write_json(model / "manifest.json", {"time": "2026-11-20T10:00:00Z", "steps": 400, "arguments": {"base": "someone/riffusion"}})
    found = {
        "arguments": {"model": str(model), "experiment": ["control"], "songs": "/home/me/songs"},
        "time": "2026-11-20T11:00:00Z",
        "sampling": {"steps": 20, "negative_prompt": ""},
        "means": {"control": {"edge_f1": 0.5, "onset": float("nan")}, "floor": {"edge_f1": 0.25}},
    }
    write_json(report / "results.json", found)
    text = read_run_card(REPO, run, model, reports=[report]).text(REPO, PIPELINE)
    assert broken_rules(text, "model") == []
    assert "| control | 0.5 |\n| floor | 0.25 |" in text
    assert "--experiment control --songs songs` with steps 20." in text
    assert listed(text)["edge f1 (control)"] == 0.5
    assert not any("floor" in name for name in listed(text))
    assert "/home/me" not in text
    assert metadata_of(text).base_model == "someone/riffusion"
    (report / "control").mkdir()
    (report / "results.json").rename(report / "control/results.json")  # of several experiments
    assert "| control | 0.5 |" in read_run_card(REPO, run, model, reports=[report]).text(REPO, PIPELINE)
    write_json(report / "control/results.json", found | {"time": "2026-11-20T09:00:00Z"})
    with pytest.raises(OptionError, match="measured before"):
        read_run_card(REPO, run, model, reports=[report])
    write_json(report / "control/results.json", found | {"arguments": {"model": "models/another"}})
    with pytest.raises(OptionError, match="measures models/another"):
        read_run_card(REPO, run, model, reports=[report])
    with pytest.raises(OptionError, match=r"no results\.json"):
        read_run_card(REPO, run, model, reports=[tmp_path])


def test_the_rules_refuse_invalid_metadata() -> None:
    good = RunCard(3, "riffusion/riffusion-model-v1", {}, {}).text(REPO, PIPELINE)
    for before, after in (
        ("license: creativeml-openrail-m", "license: mine"),
        ("pipeline_tag: image-to-image", "pipeline_tag: edges-to-vocal"),
        ("base_model: riffusion/riffusion-model-v1", "base_model: /home/me/x"),
        ("tags:\n- diffusers", "tags:\n- [diffusers]"),
    ):
        assert before in good
        assert broken_rules(good.replace(before, after), "model") != []


@given(st.text(st.characters(exclude_categories=("Cs", "Cc")) | st.just("\n")), st.text(min_size=1, alphabet="abc"))
def test_a_signed_card_is_recognised_until_it_is_edited(text: str, added: str) -> None:
    card = sign_card(text)
    assert is_own_card(card)
    assert is_own_card(card.replace("\n", "\r\n") + "\n")
    assert not is_own_card(added + card)
    assert not is_own_card(text)


@pytest.mark.parametrize(
    "name",
    [
        *(".env", ".env.local", ".netrc", "id_rsa", "server.pem", "my.KEY", "credentials", "aws_credentials.json", "token"),
        *("hf_token.txt", "api_key.json", ".git-credentials", "secrets.yaml", "hub-token"),
    ],
)
def test_names_of_secrets(name: str) -> None:
    assert has_secret_name(name)


@pytest.mark.parametrize(
    "name", ["tokenizer.json", "special_tokens_map.json", "added_tokens.json", "config.yaml", "monkey.png", "README.md", "key.wav"]
)
def test_names_of_no_secrets(name: str) -> None:
    assert not has_secret_name(name)


SECRET_LINES = [
    "hf_" + "aB3" * 11,
    "AKIA" + "ABCDEFGH" * 2,
    "-----BEGIN OPENSSH PRIVATE KEY-----\nabc",
    "wandb_api_key: " + "0123456789" * 4,
    "ghp_" + "a1B2" * 9,
    "https://me:hunter2@example.org/x",
    '{"hub_token": "abcdefgh"}',
    "password = correct-horse",
    "{'token': 'abcdefgh'}",
]


@given(st.sampled_from(SECRET_LINES), st.lists(st.sampled_from(["max_steps: 5", "{", "prompt", "# words", ""])), st.booleans())
def test_secrets_in_texts(secret: str, other_lines: list[str], first: bool) -> None:
    lines = [secret, *other_lines] if first else [*other_lines, secret]
    assert find_secret("notes.txt", "\n".join(lines).encode())


@pytest.mark.parametrize(
    "text",
    [
        '{"bos_token": "<|startoftext|>", "token": 1124, "secret": 4821, "password": 99999999, "pad_token": "endoftext"}',
        '{"commit": "' + "0123456789" * 4 + '"}',
        "hub_token: null\ntoken:\nbatch_size: 4000000\nuse_auth_token: true",
        'token="hf_..." or --token <TOKEN>',
        "the secret of the song",
    ],
)
def test_no_secrets(text: str) -> None:
    assert find_secret("notes.json", text.encode()) == ""
    assert find_secret("notes.json", text.encode(), ("the one token",)) == ""
    assert find_secret("notes.json", (text + "the one token").encode(), ("the one token",)) == "the token in use"


@pytest.mark.parametrize("home", ["/home/alice", "/Users/alice", "/root", "C:\\\\Users\\\\alice"])
def test_home_folders_are_replaced(home: str, tmp_path: Path) -> None:
    text = f'{{"base": "{home}/models/base", "other": "/data/home/x"}}\n'
    assert without_home(text.encode()) == b'{"base": "~/models/base", "other": "/data/home/x"}\n'
    (tmp_path / "plain.json").write_text('{"base": "models/base"}')
    assert without_home(tmp_path / "plain.json") == tmp_path / "plain.json"


def test_secrets_are_left_out_of_the_listing(run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for name in ("model_index.json", ".env", ".hidden", "unet/notes.txt"):
        (tmp_path / "model" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "model" / name).write_text("hf_" + "x" * 30 if name.startswith("unet") else "{}")
    files = collect(3, run.parent, tmp_path / "image_log", tmp_path / "model", ["model"])
    assert set(files) == {"model_index.json", ".env", "unet/notes.txt"}
    with pytest.raises(RiffError, match=r"2 files look like a secret .* \.env \(its name\), unet/notes.txt \(a token of the hub\)"):
        announce(REPO, files, read_run_card(REPO, run, None).text)
    assert "2 files, " in capsys.readouterr().out
    refuse_secrets({})


def test_the_card_shows_only_numbers_of_data_and_settings() -> None:
    card = RunCard(3, "mini", {}, {"pairs": 700, "audio_dir": "/home/me", "pitch_augment": True})
    assert "- pairs: 700\n- pitch_augment: True" in card.text(REPO, PIPELINE)
    with_data = replace(card, settings={"dataset_name": "me/pairs"}).text(REPO, PIPELINE)
    assert metadata_of(with_data).datasets == ["me/pairs"]
