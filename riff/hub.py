"""Trained models and data sets to the Hugging Face hub: what goes, its model card, and the upload itself."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from huggingface_hub import CommitOperationAdd, CommitOperationDelete, HfApi, ModelCardData, get_token
from huggingface_hub.errors import HfHubHTTPError, HFValidationError, HTTPError, OfflineModeIsEnabled
from huggingface_hub.utils import validate_repo_id

from riff.errors import ModelError, OptionError, RiffError
from riff.files import CARD, read_mapping
from riff.training.places import run_versions

MINI = ("mini", "riffusion-mini")


@dataclass(frozen=True)
class CardKind:
    """What the cards of one kind of model say. command: samples from `models/{name}`."""

    tag: str
    description: str
    command: str


CONTROL_CARD = CardKind(
    "controlnet",
    "A ControlNet made with riff-cnet: from a prompt and the canny edges of an accompaniment's spectrogram it draws the "
    "spectrogram of the song with a new vocal (512x512, 5.11 s, Riffusion's format).",
    'python sample_riff_cnet.py --model models/{name} --audio song.wav --prompt "Generate an uplifting female vocal pop melody"',
)
EDIT_CARD = CardKind(
    "instruct-pix2pix",
    "An InstructPix2Pix model made with riff-cnet: it changes the spectrogram of a clip as an instruction says, above all by "
    "painting a vocal into it (512x512, 5.11 s, Riffusion's format).",
    'python inference_instruct_pix2pix.py --model_id models/{name} --audio song.wav --prompt "add a female vocal pop melody"',
)

Files = dict[str, Path | bytes]  # path in the repository -> file on disk, or what it is to hold


def collect(version: int, lightning_logs: Path, image_log: Path, model: Path | None) -> Files:
    """List what belongs to a training run, keyed by its path in the repository.

    The final pipeline goes to the repository's root, so that `from_pretrained(REPO_ID)` loads it; the newest checkpoint
    and the resolved configuration go under `lightning_logs/version_N/`, the samples drawn while training under
    `image_log/version_N/`. Hidden and half-written files stay behind.

    Args:
        model: folder of the final pipeline, or None to leave it out.

    Raises:
        OptionError: there is no such version.
        ModelError: it has no checkpoint, or `model` is no folder of a pipeline or a trained part.
    """
    name = f"version_{version}"
    versions = sorted(run_versions(lightning_logs) | run_versions(image_log))
    if version not in versions:
        there = f"there are {', '.join(map(str, versions))}" if versions else "there are none yet; train first"
        raise OptionError(f"version {version}: no {name} in {lightning_logs} or {image_log}; {there}")

    run = lightning_logs / name
    checkpoint = newest_checkpoint(run / "checkpoints")
    files: Files = {f"lightning_logs/{name}/checkpoints/{checkpoint.name}": checkpoint}
    if (run / "config.yaml").is_file():
        files[f"lightning_logs/{name}/config.yaml"] = run / "config.yaml"
    files |= {f"image_log/{name}/{path}": file for path, file in _visible_files(image_log / name).items()}
    if model is not None:
        if not any((model / name).is_file() for name in ("model_index.json", "config.json")):  # a pipeline, or its trained part
            raise ModelError(f"{model}: no diffusers pipeline (model_index.json) here; name its folder with --model")
        files |= _visible_files(model)
    return dict(sorted(files.items()))


def run_files(
    repo_id: str, version: int, lightning_logs: Path, image_log: Path, model: Path | None, base: str | None = None
) -> Files:
    """What `collect` lists, and the model card that `run_card` writes where the model brings none."""
    files = collect(version, lightning_logs, image_log, model)
    files.setdefault(CARD, run_card(repo_id, lightning_logs / f"version_{version}", model, base).encode())
    return files


def publish(repo_id: str, files: Files, token: str, **options: Any) -> str:
    """`upload` files, with its options, and say in a line what became of them."""
    url, changed = upload(repo_id, files, token, **options)
    return f"{'uploaded to' if changed else 'nothing new for'} {url}: {total_size(files)}"


def total_size(files: Files) -> str:
    return f"{len(files)} files, {sum(map(size, files.values())):,} bytes"


def result_of(run: Path) -> Path:
    """The folder of the final pipeline, as a run's configuration says, or where a ControlNet's goes by default."""
    settings = _read_facts(run / "config.yaml")
    return Path(str(settings.get("output_dir") or settings.get("output") or "models/riff-cnet-final"))


def size(content: Path | bytes) -> int:
    """Bytes of a file, or of what a file is to hold."""
    return len(content) if isinstance(content, bytes) else content.stat().st_size


def newest_checkpoint(folder: Path) -> Path:
    """The checkpoint with the highest `step=` in its name, or, where no name has one, the one written last.

    Raises:
        ModelError: there is none.
    """
    checkpoints = [path for path in folder.glob("*.ckpt") if path.is_file() and not path.name.startswith(".")]
    if not checkpoints:
        raise ModelError(f"{folder}: no checkpoint (*.ckpt) here; train this version first, or see --lightning_logs")

    def age(path: Path) -> tuple[int, float]:
        step = re.search(r"step=(\d+)", path.name)
        return (int(step[1]) if step else -1), path.stat().st_mtime

    return max(checkpoints, key=age)


def _visible_files(folder: Path) -> Files:
    paths = ((path.relative_to(folder), path) for path in folder.rglob("*") if path.is_file())
    return {inner.as_posix(): path for inner, path in paths if not any(part.startswith(".") for part in inner.parts)}


def run_card(repo_id: str, run: Path, model: Path | None, base: str | None = None) -> str:
    """Write the model card of a training run from what lies beside it: configuration and manifests.

    Raises:
        DataError: one of them is there and cannot be read.
    """
    settings = _read_facts(run / "config.yaml")
    data = _read_facts(Path(str(settings.get("train_data_dir", ""))) / "manifest.json")
    if base is None and model is not None:
        base = _mapping(_read_facts(model / "manifest.json").get("arguments")).get("base")
    base = base or settings.get("base") or settings.get("pretrained_model_name_or_path")
    return model_card(repo_id, base, settings, data, has_pipeline=model is not None)


def model_card(
    repo_id: str, base: str | None, settings: Mapping[str, Any], data: Mapping[str, Any], *, has_pipeline: bool = True
) -> str:
    """Write the README.md of a trained model: metadata for the hub, how to sample, and how it was made.

    Of `settings` and `data` only numbers and switches are told: paths of the machine that trained it stay there.

    Args:
        base: the base model as `--base` names it, None where it is not known.
        settings: the resolved configuration of the training run.
        data: the training data's manifest.
        has_pipeline: the repository holds a pipeline folder, not only a checkpoint.
    """
    kind = EDIT_CARD if "pretrained_model_name_or_path" in settings else CONTROL_CARD  # a flag of its script alone
    on_hub = base is not None and _is_on_hub(base)
    base_name = base if on_hub else base and Path(base).name
    metadata = ModelCardData(
        # What descends from Stable Diffusion keeps its licence; the mini model saw nothing but the project's own songs.
        license="mit" if base_name in MINI else "creativeml-openrail-m",
        base_model=base if on_hub else None,
        library_name="diffusers" if has_pipeline else None,
        tags=["diffusers", kind.tag, "riffusion", "audio", "spectrogram", "riff-cnet"],
    )
    name = repo_id.rsplit("/", 1)[-1]
    parts = [
        f"---\n{metadata.to_yaml()}\n---",
        f"# {name}",
        kind.description + (f" Its base model is {base_name}." if base_name else ""),
    ]
    if has_pipeline:
        parts.append(
            f"""## Sample

```
hf download {repo_id} --local-dir models/{name} --exclude "*.ckpt"
{kind.command.format(name=name)}
```"""
        )
    parts += [
        _section("Training", settings),
        _section("Training data", {**_mapping(data.get("arguments")), **data}),
        "## Limits\n\nThe vocal has no words, a clip lasts 5.11 s, and it can be no better than its base model and its data. "
        "`image_log/` holds what it drew while training.",
    ]
    return "\n\n".join(part for part in parts if part) + "\n"


def _section(title: str, facts: Mapping[str, Any]) -> str:
    lines = [f"- {key}: {value}" for key, value in facts.items() if isinstance(value, (bool, int, float))]
    return f"## {title}\n\n" + "\n".join(lines) if lines else ""


def _read_facts(path: Path) -> dict[str, Any]:
    """A configuration or a manifest; empty where there is none."""
    return read_mapping(path) if path.is_file() else {}


def _mapping(value: Any) -> Mapping[Any, Any]:
    return value if isinstance(value, Mapping) else {}


def check_repo_id(repo_id: str) -> None:
    """Raise OptionError for what the hub cannot take as a repository's name."""
    try:
        validate_repo_id(repo_id)
    except HFValidationError as error:
        raise OptionError(f"{repo_id}: not a repository name, write it as USER/NAME ({_first_line(error)})") from error


def _is_on_hub(base: str) -> bool:
    """Whether this names a model on the hub, and nothing on this machine."""
    try:
        check_repo_id(base)
    except OptionError:
        return False
    return "/" in base and not Path(base).exists() and Path(base).name not in MINI


def find_token(token: str | None = None) -> str:
    """The given token, else that of `HF_TOKEN` or `hf auth login`.

    Raises:
        OptionError: there is none.
    """
    token = token or get_token()
    if not token:
        raise OptionError("no token for the hub; set HF_TOKEN, run `hf auth login`, or give --token")
    return token.strip()


def upload(
    repo_id: str,
    files: Files,
    token: str,
    *,
    private: bool = False,
    message: str = "Upload",
    repo_type: str = "model",
    replaces: str | None = None,
) -> tuple[str, bool]:
    """Put files into a repository in one commit, creating it if it is missing.

    Called again it sends only what changed: the hub says which files it has, and which large ones it holds already from
    an upload that was cut off. A README.md that is there is left alone.

    Args:
        private: create it private; refuse one that is public already.
        repo_type: `model` or `dataset`.
        replaces: files of the repository whose paths begin with this, and that are not among `files`, are deleted.

    Returns:
        The repository's address, and whether any file was new to it.

    Raises:
        OptionError: `private`, and the repository is public; or the token is refused.
        RiffError: the hub cannot be reached, or refuses.
    """
    api = HfApi(token=token)
    try:
        url = api.create_repo(repo_id, private=private or None, exist_ok=True, repo_type=repo_type)
        before = (api.dataset_info if repo_type == "dataset" else api.model_info)(url.repo_id)
        if private and not before.private:
            raise OptionError(f"{repo_id}: --private, but this repository is public; make it private there or choose another")
        there = {file.rfilename for file in before.siblings or []}
        added = [CommitOperationAdd(path, content) for path, content in files.items() if not (path == CARD and CARD in there)]
        stale = sorted(path for path in there - set(files) if replaces and path.startswith(replaces))
        deleted = [CommitOperationDelete(path) for path in stale]
        commit = api.create_commit(url.repo_id, [*added, *deleted], commit_message=message, repo_type=repo_type)
    except (HTTPError, OSError, RuntimeError, ValueError) as error:
        raise _explain(error, repo_id, api.endpoint) from error
    return str(url), commit.oid != before.sha


def _explain(error: Exception, repo_id: str, endpoint: str) -> RiffError:
    """What went wrong on the way to the hub, in one line with the way out."""
    if isinstance(error, RuntimeError) and isinstance(error.__cause__, Exception):
        error = error.__cause__  # the client wraps what went wrong with a large file
    if isinstance(error, HfHubHTTPError):
        status = error.response.status_code
        if status == 401:
            return OptionError(f"{endpoint} does not accept the token (401); make a new one, then `hf auth login` or set HF_TOKEN")
        if status == 403:
            return OptionError(f"{repo_id}: the token may not write there (403); use one with write access, or a name of your own")
        reason = error.server_message or _first_line(error)
        return RiffError(f"{repo_id}: {endpoint} answered {status} ({reason}); run the same command again to go on")
    if isinstance(error, OfflineModeIsEnabled):
        return RiffError("HF_HUB_OFFLINE is set, so nothing can be uploaded; unset it")
    if isinstance(error, HTTPError):
        return RiffError(f"{endpoint} cannot be reached ({_first_line(error)}); when it can, the same command goes on")
    return RiffError(f"{repo_id}: the upload stopped ({_first_line(error)}); run the same command again to go on")


def _first_line(error: Exception) -> str:
    return next((line.strip() for line in str(error).splitlines() if line.strip()), type(error).__name__)
