"""What must not go to the hub: secrets, by their files' names and by what is in them, and the names of home folders."""

from __future__ import annotations

import re
from pathlib import Path

LARGEST_TEXT = 5_000_000  # bytes of a file that is looked into; what is larger is weights, pictures or sound
_OF_WHAT = r"(?:hf|hub|huggingface|access|auth|api|bearer|refresh|github|gitlab|wandb)"
_SECRET_WORD = rf"(?:{_OF_WHAT}[_-]?token|secret|password|passwd|(?:api|access|private|secret)[_-]?key)"

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
    # bos_token and its like are words of a tokenizer's, a number is a word's place in its vocabulary, <TOKEN> a place to fill in.
    "a field that is called as secrets are": rf"(?im)(?:^|[\s,{{\"'])(?:\w+[_-])?(?:(?<![\w-])token|{_SECRET_WORD})[\"']?[ \t]*[:=]"
    r"[ \t]*[\"']?(?!(?:null|none|true|false)\b|[<$*{\[(]|\d+\b|\w*\.\.\.)[^\s\"',}]{6,}",
}
HOME = re.compile(
    r"(?<![\w.-])(?:/home/[^/\s\"']+|/Users/[^/\s\"']+|/root|[A-Za-z]:\\{1,2}Users\\{1,2}[^/\\\s\"']+)(?=[/\\\s\"']|$)"
)


def has_secret_name(name: str) -> bool:
    """Whether a file of this name is made to hold a secret."""
    return SECRET_NAMES.fullmatch(name) is not None


def find_secret(name: str, content: Path | bytes, tokens: tuple[str, ...] = ()) -> str:
    """What in a file looks like a secret, "" where nothing does.

    A small text is looked into; a large file, or one that is no text, goes by its name alone.

    Args:
        name: the file's own, without folders. tokens: the secrets that are known, found wherever they stand.
    """
    if has_secret_name(name):
        return "its name"
    text = _read_text(content)
    if any(token in text for token in tokens if token):
        return "the token in use"
    return next((what for what, pattern in SECRET_TEXTS.items() if re.search(pattern, text)), "")


def without_home(content: Path | bytes) -> Path | bytes:
    """The file as it is or, where it is a text that names somebody's home folder, its bytes with `~` in place of that."""
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
