"""The hub's rules for a card's metadata, as the stand-in checks them.

The hub's own checks run on its servers. These follow its documentation (hub-docs,
modelcard.md: what is required of `model-index`) and from its list of tasks (huggingface.js, packages/tasks); huggingface_hub's
own reading of a card is used as it is. Licences are those that this project's cards name, of the many that the hub knows.
"""

from __future__ import annotations

import re
from typing import Any

from huggingface_hub import DatasetCard, ModelCard
from huggingface_hub.utils import validate_repo_id

LICENCES = {"mit", "creativeml-openrail-m"}
PIPELINE_TAGS = {
    *("text-to-image", "image-to-image", "image-to-text", "image-to-video", "unconditional-image-generation", "text-to-video"),
    *("text-to-audio", "text-to-speech", "audio-to-audio", "audio-classification", "automatic-speech-recognition"),
}
TEXTS = ("license", "library_name", "pipeline_tag")
LISTS = ("tags", "datasets")


def broken_rules(content: str, repo_type: str) -> list[str]:
    """The broken rules of a README.md's metadata, in words."""
    try:
        card = (DatasetCard if repo_type == "dataset" else ModelCard)(content)
    except ValueError as error:
        return [str(error)]
    data = card.data.to_dict()
    wrong = [f'"{name}" must be a string' for name in TEXTS if not isinstance(data.get(name, ""), str)]
    wrong += [f'"{name}" must be a list of strings' for name in LISTS if not _is_texts(data.get(name, []))]
    if data.get("license", "mit") not in LICENCES:
        wrong.append(f'"license" {data["license"]} is unknown')
    if data.get("pipeline_tag", "text-to-image") not in PIPELINE_TAGS:
        wrong.append(f'"pipeline_tag" {data["pipeline_tag"]} is unknown')
    base = data.get("base_model", [])
    for name in [base] if isinstance(base, str) else base:
        try:
            validate_repo_id(name)
        except ValueError as error:
            wrong.append(f'"base_model" {error}')
    if "model-index" in data:
        wrong += _broken_index(data["model-index"])
    return wrong


def _broken_index(index: Any) -> list[str]:
    wrong = []
    for model in index:
        if not isinstance(model.get("name"), str) or not model.get("results"):
            wrong.append('"model-index" needs a name and results')
        for result in model.get("results", []):
            if not re.fullmatch(r"[a-z0-9-]+", result["task"]["type"]):
                wrong.append(f'"model-index" task {result["task"]["type"]}')
            wrong += [f'"model-index" dataset needs {name}' for name in ("name", "type") if not result["dataset"].get(name)]
            for metric in result["metrics"]:
                if not isinstance(metric.get("type"), str) or not isinstance(metric.get("value"), (int, float)):
                    wrong.append(f'"model-index" metric {metric}')
    return wrong


def _is_texts(value: Any) -> bool:
    return isinstance(value, list) and all(isinstance(text, str) for text in value)
