"""What must not be uploaded: secrets, found by file name or content, and the names of home folders."""

from __future__ import annotations

import re
from pathlib import Path

LARGEST_TEXT = 5_000_000  # bytes; larger files are weights, images or sound, and are not scanned
_TOKEN_KIND = r"(?:hf|hub|huggingface|access|auth|api|bearer|refresh|github|gitlab|wandb)"
_SECRET_WORD = rf"(?:{_TOKEN_KIND}[_-]?token|secret|password|passwd|(?:api|access|private|secret)[_-]?key)"

SECRET_NAMES = re.compile(
    rf"""
    \.env(\..+)? | [._]netrc | \.(npmrc|pypirc|git-credentials|htpasswd|pgpass)
    | id_(rsa|dsa|ecdsa|ed25519) | .+\.(pem|key|p12|pfx|jks|ppk|kdbx|keystore)
    | (.+[._-])?credentials? (\.\w+)? | \.?(token|(\w+_)?{_SECRET_WORD})s? (\.(txt|json|ya?ml|toml|ini|cfg))?
    """,
    re.VERBOSE | re.IGNORECASE,
)
SECRET_TEXTS = {
    "a token of the hub": r"\bhf_[A-Za-z0-9]{20,}",
    "a private key": r"-----BEGIN [A-Z ]*PRIVATE KEY",
    "an AWS key": r"\b(?:AKIA|ASIA)[0-9A-Z]{16}\b",
    "a key of Weights & Biases": r"(?i)wandb[\w.-]{0,20}[\"']?\s*[:=]\s*[\"']?[0-9a-f]{40}\b|\bwandb_v1_\w{20,}",
    "a GitHub token": r"\b(?:gh[opsur]_[A-Za-z0-9]{36}|github_pat_\w{22,})",
    "an API key": r"\b(?:sk-(?:[a-z]+-)?[A-Za-z0-9]{32,}|AIza[\w-]{35}|xox[abprs]-[\w-]{20,})",
    "a password in an address": r"://[^/\s:@\"']+:[^/\s@\"']{3,}@",
    # Not matched: a tokenizer's bos_token and the like, numbers (token ids), and placeholders such as <TOKEN>.
    "a field named like a secret": rf"(?im)(?:^|[\s,{{\"'])(?:\w+[_-])?(?:(?<![\w-])token|{_SECRET_WORD})[\"']?[ \t]*[:=]"
    r"[ \t]*[\"']?(?!(?:null|none|true|false)\b|[<$*{\[(]|\d+\b|\w*\.\.\.)[^\s\"',}]{6,}",
}
HOME = re.compile(
    r"(?<![\w.-])(?:/home/[^/\s\"']+|/Users/[^/\s\"']+|/root|[A-Za-z]:\\{1,2}Users\\{1,2}[^/\\\s\"']+)(?=[/\\\s\"']|$)"
)


def has_secret_name(name: str) -> bool:
    """Whether files of this name usually hold a secret."""
    return SECRET_NAMES.fullmatch(name) is not None


def find_secret(name: str, content: Path | bytes, tokens: tuple[str, ...] = ()) -> str:
    """The kind of secret that a file seems to hold, "" if none.

    Only the name is checked of large files and of those that are no UTF-8 text.

    Args:
        name: without folders. tokens: known secrets, found anywhere in the text.
    """
    if has_secret_name(name):
        return "its name"
    text = _read_text(content)
    if any(token in text for token in tokens if token):
        return "the token in use"
    return next((kind for kind, pattern in SECRET_TEXTS.items() if re.search(pattern, text)), "")


def without_home(content: Path | bytes) -> Path | bytes:
    """The content unchanged or, if it is a text that names home folders, its bytes with `~` in their place."""
    text = _read_text(content)
    changed = HOME.sub("~", text)
    return content if changed == text else changed.encode()


def _read_text(content: Path | bytes) -> str:
    if isinstance(content, Path):
        if content.stat().st_size > LARGEST_TEXT:
            return ""
        content = content.read_bytes()
    try:
        text = content.decode()
    except UnicodeDecodeError:
        return ""
    return "" if "\0" in text else text
