"""The tables of the documents, made from the results that lie in the repository.

    python benchmarks/tables.py            says which documents have tables that the results do not have
    python benchmarks/tables.py --write    puts the results' figures into the documents
    python benchmarks/tables.py --remake takes_edit fit_edit   measures these again first (their commands: benchmarks/remake.yaml)

A table of figures stands in a document under a line `<!-- table: NAME -->`, and benchmarks/tables.yaml says what NAME is made
of: columns, [heading, path, format, unit], and rows, [label, results file, path, format in place of the columns']. A path leads
from the file to the row and on to the figure: keys and positions with slashes between them, or a list of them.
"""

from __future__ import annotations

import re
import shlex
import shutil
import subprocess
import sys
from collections.abc import Mapping, Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any, NamedTuple

from riff import cli
from riff.errors import RiffError
from riff.files import read_mapping, write_text

RESULTS, DEFINITIONS, REMAKE = (cli.ROOT / "benchmarks" / name for name in ("results", "tables.yaml", "remake.yaml"))
DOCUMENTS = ("README.md", "docs/*.md", "models/*/README.md")
MARKED = re.compile(r"(?P<mark><!-- table: (?P<name>[\w-]+) -->\n)(?P<table>(?:\|.*\n)*)")


class Column(NamedTuple):
    """shown: a format of Python's, where a share ends in %. unit: stands behind the figure."""

    heading: str
    path: str
    shown: str = ".2f"
    unit: str = ""


def render(table: Mapping[str, Any]) -> str:
    """A table of tables.yaml in Markdown; a figure that a row does not have is left out.

    Raises:
        RiffError: a path that leads nowhere in any row, so that it must be wrong.
    """
    columns = [Column(*column) for column in table["columns"]]
    rows = [[str(label), *cells(columns, *row)] for label, *row in table["rows"]]
    for number, column in enumerate(columns, start=1):
        if not any(row[number] for row in rows):
            raise RiffError(f"{DEFINITIONS.name}: no row has the column {column.heading!r}; correct its path {column.path!r}")
    head = [str(table.get("corner", "")), *(column.heading for column in columns)]
    return "".join(line(words) for words in (head, ["---"] * len(head), *rows))


def line(words: Sequence[str]) -> str:
    return "|" + "|".join(word if word == "---" else f" {word} " if word else " " for word in words) + "|\n"


def cells(columns: Sequence[Column], file: str, start: str | list[str] = "", shown: str = "") -> list[str]:
    """The figures of a row as they are shown; a share is a percentage."""
    found = []
    for column in columns:
        value = follow(read_results(file), start, column.path)
        figure = "" if value is None else f"{value:{shown or column.shown}}".replace("%", " %")
        found.append(f"{figure} {column.unit}" if figure and column.unit else figure)
    return found


def follow(value: Any, *paths: str | list[str]) -> Any:
    """What stands at the end of paths, one after the other; None where there is nothing."""
    for key in (key for path in paths for key in (path.split("/") if isinstance(path, str) else path) if key):
        if isinstance(value, list):
            value = value[int(key)] if int(key) < len(value) else None
        else:
            value = value.get(key) if value else None
    return value


@lru_cache
def read_results(file: str) -> dict[str, Any]:
    return read_mapping(RESULTS / f"{file}.json")


def remake(name: str, flags: str) -> None:
    """Measure a result of the models again, with these flags of tools/evaluate_samples.py, and keep it.

    Raises:
        RiffError: it cannot be measured; its own line says why.
    """
    folder = Path("outputs", "tables", name)
    command = [sys.executable, "tools/evaluate_samples.py", *shlex.split(flags), "--output", str(folder), "--overwrite"]
    if subprocess.run(command, cwd=cli.ROOT, check=False).returncode:
        raise RiffError(f"{name}: python tools/evaluate_samples.py {flags}: failed, see above")
    shutil.copyfile(cli.ROOT / folder / "results.json", RESULTS / f"{name}.json")


def documents() -> list[Path]:
    return sorted(path for pattern in DOCUMENTS for path in cli.ROOT.glob(pattern))


def up_to_date(text: str, definitions: Mapping[str, Any]) -> str:
    """A document with its marked tables as the results have them.

    Raises:
        RiffError: a table that is not defined.
    """

    def table(found: re.Match[str]) -> str:
        if found["name"] not in definitions:
            raise RiffError(f"<!-- table: {found['name']} -->: is not in {DEFINITIONS.name}; define it or take the mark out")
        return found["mark"] + render(definitions[found["name"]])

    return MARKED.sub(table, text)


def main(argv: Sequence[str] | None = None) -> None:
    parser = cli.ArgumentParser(__doc__)
    parser.add_flag("write", default=False, help="put the figures into the documents")
    commands = read_mapping(REMAKE)
    parser.add_argument("--remake", nargs="+", default=[], choices=commands, metavar="NAME", help=", ".join(commands))
    args = parser.parse_args(argv)
    for name in args.remake:
        remake(name, commands[name])
    args.write = args.write or bool(args.remake)
    definitions, stale = read_mapping(DEFINITIONS), []
    for document in documents():
        text = document.read_text(encoding="utf-8")
        new = up_to_date(text, definitions)
        if new != text:
            stale.append(str(document.relative_to(cli.ROOT)))
            if args.write:
                write_text(document, new)
    if stale and not args.write:
        raise RiffError(f"{', '.join(stale)}: tables are not what the results say; run python benchmarks/tables.py --write")
    print(f"written: {', '.join(stale)}" if stale else "every table is what the results say")


if __name__ == "__main__":
    cli.run(main)
