"""Pages open from disk, link to existing files and escape text; contact sheets have the documented size."""

from __future__ import annotations

import math
import re
import xml.etree.ElementTree as ElementTree
from pathlib import Path
from urllib.parse import unquote

import numpy as np
import pytest
import soundfile
from html_page import Page
from hypothesis import example, given
from hypothesis import strategies as st
from PIL import Image

from riff.errors import DataError, RiffError
from riff.report.chart import line_chart
from riff.report.report import Report, Take, Version
from riff.spectrogram.sheet import SHEET_CAPTION, SHEET_GAP, contact_sheet

ATTACK = """"><script>alert('x')</script><img src=x onerror=alert(1)> & 'quoted' </title></style>"""
SVG = "{http://www.w3.org/2000/svg}"
numbers = st.floats(-1e9, 1e9, allow_subnormal=False)


def make_take(folder: Path, name: str, caption: str = "a take", size: tuple[int, int] = (32, 32)) -> Take:
    folder.mkdir(parents=True, exist_ok=True)
    Image.new("L", size).save(folder / f"{name}.png")
    soundfile.write(folder / f"{name}.wav", np.zeros(100), 8000)
    return Take(caption, folder / f"{name}.png", folder / f"{name}.wav")


def test_a_page_with_everything_is_well_formed_and_needs_nothing_else(tmp_path):
    report = Report("A run", "What it was for.")
    report.section("Listen")
    report.text("One paragraph.\n\nAnother one.")
    report.takes([make_take(tmp_path, "one")])
    report.table(["metric", "value"], [["edge F1", 0.5]], note="Higher is better.", command="python evaluate.py --n 3")
    report.chart({"loss": [(0, 1.0), (1, 0.5)]}, "step", "loss", note="Mean of 20.")
    page = Page(report.write(tmp_path / "index.html"))
    assert page.open == []
    names = [tag for tag, _ in page.tags]
    assert "script" not in names
    assert "link" not in names
    assert names.count("p") == 6
    for text in ("A run", "What it was for.", "Another one.", "edge F1", "python evaluate.py --n 3", "Mean of 20."):
        assert text in page.text
    source = (tmp_path / "index.html").read_text(encoding="utf-8")
    assert not re.search(r"https?://(?!www\.w3\.org/2000/svg)", source)
    assert "prefers-color-scheme: dark" in source


def test_versions_of_a_song_share_one_player(tmp_path):
    files = {name: tmp_path / f"{name}.wav" for name in ("mix", "song")}
    for file in files.values():
        file.write_bytes(b"sound")
    report = Report("A song")
    report.player("before and after", [Version(name, "made so", file) for name, file in files.items()], 12.5)
    page = Page(report.write(tmp_path / "index.html"))
    assert page.open == []
    assert page.links() == ["mix.wav", "song.wav"]
    radios = [attributes for tag, attributes in page.tags if attributes.get("type") == "radio"]
    assert [("checked" in attributes) for attributes in radios] == [True, False]
    assert "script" in [tag for tag, _ in page.tags]


def test_links_are_relative_to_the_page_and_exist(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    takes = [
        make_take(tmp_path / "site" / "samples", "plain"),
        make_take(Path("site"), "odd name #1 100%?ü&<b>"),
        make_take(Path("elsewhere"), "aside"),
    ]
    report = Report("Links")
    report.takes(takes)
    path = report.write("site/index.html")
    links = Page(path).links()
    assert len(links) == 9  # an image, the link around it, and a player for each
    assert "samples/plain.png" in links
    for link in links:
        assert not link.startswith(("/", "file:"))
        assert (path.parent / unquote(link)).is_file()


def test_links_of_a_folder_that_will_be_moved_fit_the_place_it_is_moved_to(tmp_path):
    inside, outside = make_take(tmp_path / "deep" / "staging", "inside"), make_take(tmp_path / "songs", "outside")
    report = Report("Moved")
    report.takes([inside, outside])
    report.write(tmp_path / "deep" / "staging" / "index.html", place=tmp_path / "final")
    (tmp_path / "deep" / "staging").rename(tmp_path / "final")
    links = Page(tmp_path / "final" / "index.html").links()
    assert links[-1] == "../songs/outside.wav"
    assert all((tmp_path / "final" / link).is_file() for link in links)


def test_a_file_name_that_is_no_text_is_linked_all_the_same(tmp_path):
    name = b"caf\xe9.wav".decode("utf-8", "surrogateescape")
    soundfile.write(tmp_path / "plain.wav", np.zeros(10), 8000)
    (tmp_path / "plain.wav").rename(tmp_path / name)
    report = Report("Names")
    report.takes([Take(name, audio=tmp_path / name)])
    page = Page(report.write(tmp_path / "index.html"))
    assert page.links() == ["caf%E9.wav"]
    assert "caf?.wav" in page.text


def test_players_and_images_load_lazily(tmp_path):
    report = Report("Lazy")
    report.takes([make_take(tmp_path, "one", size=(40, 30)), make_take(tmp_path, "sheet", size=(96, 32)), Take("words")])
    tags = Page(report.write(tmp_path / "index.html")).tags
    (image, sheet), players = ([a for tag, a in tags if tag == name] for name in ("img", "audio"))
    assert (image["width"], image["height"], image["loading"]) == ("40", "30", "lazy")
    assert [player["preload"] for player in players] == ["none", "none"]
    assert all("controls" in player for player in players)
    assert [a.get("class") for tag, a in tags if tag == "figure"] == [None, "sheet", None]
    assert sheet["width"] == "96"


def test_users_text_stays_text_wherever_it_appears(tmp_path):
    report = Report(ATTACK, ATTACK)
    report.section(ATTACK)
    report.text(ATTACK)
    report.takes([make_take(tmp_path, "one", ATTACK)])
    report.table([ATTACK, "n"], [[ATTACK, 1]], note=ATTACK, command=ATTACK)
    report.chart({ATTACK: [(0, 1), (1, 2)]}, ATTACK, ATTACK, note=ATTACK)
    page = Page(report.write(tmp_path / "index.html"))
    names = [tag for tag, _ in page.tags]
    assert "script" not in names
    assert names.count("img") == 1
    assert not [attributes for _, attributes in page.tags if any(name.startswith("on") for name in attributes)]
    assert page.text.count(ATTACK) >= 10
    assert page.open == []


def test_a_lone_surrogate_in_a_prompt_does_not_lose_the_page(tmp_path):
    report = Report("Prompts", "half \ud83c")
    assert "half ?" in report.write(tmp_path / "index.html").read_text(encoding="utf-8")


@pytest.mark.parametrize("kind", ["missing image", "missing audio", "no image"])
def test_a_dead_link_is_refused_and_the_old_page_kept(tmp_path, kind):
    (tmp_path / "text.png").write_text("not an image")
    take = {
        "missing image": Take("a", image=tmp_path / "gone.png"),
        "missing audio": Take("a", audio=tmp_path / "gone.wav"),
        "no image": Take("a", image=tmp_path / "text.png"),
    }[kind]
    Report("old").write(tmp_path / "index.html")
    report = Report("new")
    report.takes([take])
    with pytest.raises(DataError, match=r"gone|text\.png") as caught:
        report.write(tmp_path / "index.html")
    assert "\n" not in str(caught.value)
    assert "old" in (tmp_path / "index.html").read_text()
    assert sorted(file.name for file in tmp_path.iterdir()) == ["index.html", "text.png"]


def test_a_page_below_a_file_is_one_line(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(RiffError, match="file"):
        Report("x").write(tmp_path / "file" / "index.html")


def test_numbers_in_tables_stand_right_and_read_well(tmp_path):
    report = Report("Table")
    report.table(
        ["name", "value"],
        [
            ["float", 0.51234],
            ["negative", -0.5],
            ["small", 1e-5],
            ["count", 120_000],
            ["numpy", np.int64(7)],
            ["single", np.float32(0.25)],
            ["none", None],
            ["nan", math.nan],
            ["infinite", -math.inf],
        ],
    )
    path = report.write(tmp_path / "index.html")
    cells = re.findall(r'<td class="number">(.*?)</td>', path.read_text(encoding="utf-8"))
    assert cells == ["0.512", "−0.500", "1.00e−05", "120,000", "7", "0.250", "–", "–", "−∞"]
    assert '<th class="number">value</th>' in path.read_text(encoding="utf-8")


def test_a_row_of_another_length_is_a_mistake():
    with pytest.raises(ValueError, match="zip"):
        Report("x").table(["a", "b"], [["only one"]])


# Charts


def polylines(svg: str) -> list[list[tuple[float, float]]]:
    root = ElementTree.fromstring(svg)
    return [
        [(float(x), float(y)) for x, y in (pair.split(",") for pair in line.attrib["points"].split())]
        for line in root.iter(f"{SVG}polyline")
    ]


def labels(svg: str) -> list[str]:
    return [text.text or "" for text in ElementTree.fromstring(svg).iter(f"{SVG}text")]


def test_a_chart_has_a_line_a_series_and_names_everything():
    svg = line_chart({"train": [(0, 1), (10, 0.5), (20, 0.2)], "held out": [(0, 1.1), (20, 0.4)]}, "step", "loss")
    train, held_out = polylines(svg)
    assert (len(train), len(held_out)) == (3, 2)
    assert {"train", "held out", "step", "loss", "0", "10", "20", "0.2", "1"} <= set(labels(svg))


def test_points_are_placed_in_proportion():
    (linear,) = polylines(line_chart({"a": [(0, 0), (1, 1), (4, 4)]}, "x", "y"))
    (x0, y0), (x1, y1), (x4, y4) = linear
    assert x4 - x0 == pytest.approx(4 * (x1 - x0), abs=0.5)
    assert y0 - y4 == pytest.approx(4 * (y0 - y1), abs=0.5)
    assert y0 > y4  # upwards


def test_points_that_are_not_finite_are_skipped():
    points = [(0, 1.0), (1, math.nan), (2, math.inf), (3, 0.0), (4, -1.0), (5, 2.0)]
    assert len(polylines(line_chart({"a": points}, "x", "y"))[0]) == 4


def test_a_single_point_and_an_empty_series_beside_it():
    dot, nothing = polylines(line_chart({"dot": [(3, 0.5)], "nothing": []}, "x", "y"))
    assert dot[0] == dot[1]
    assert nothing == []


@pytest.mark.parametrize("series", [{}, {"a": []}, {"a": [(0, math.nan)]}, {str(i): [(0, 1)] for i in range(7)}])
def test_a_chart_of_nothing_or_too_much_is_refused(series):
    with pytest.raises(DataError):
        line_chart(series, "x", "y")


@given(st.lists(st.tuples(numbers, numbers), min_size=1, max_size=20))
@example([(0.0, 5.938168402284321e-307)])  # a slope in pixels per unit would be infinite
def test_any_points_stay_inside_the_chart(points):
    svg = line_chart({"a": points}, "x", "y")
    assert all(0 <= x <= 720 and 0 <= y <= 320 for x, y in polylines(svg)[0])
    assert len(labels(svg)) < 40


# Sheets


def test_a_sheet_holds_its_images_untouched_at_the_stated_size(tmp_path):
    random = np.random.default_rng(0)
    grey, colour = random.integers(0, 256, (50, 60), np.uint8), random.integers(0, 256, (40, 70, 3), np.uint8)
    contact_sheet([grey, colour], ["edges", "a caption\nthat is much too long for its image"], tmp_path / "sheet.png")
    sheet = np.array(Image.open(tmp_path / "sheet.png"))
    assert sheet.shape == (SHEET_CAPTION + 50 + SHEET_GAP, 60 + 70 + 3 * SHEET_GAP, 3)
    left = SHEET_GAP
    np.testing.assert_array_equal(sheet[SHEET_CAPTION : SHEET_CAPTION + 50, left : left + 60], np.repeat(grey[..., None], 3, 2))
    left += 60 + SHEET_GAP
    np.testing.assert_array_equal(sheet[SHEET_CAPTION : SHEET_CAPTION + 40, left : left + 70], colour)
    margins = sheet[:SHEET_CAPTION, [*range(SHEET_GAP), *range(left - SHEET_GAP, left), *range(left + 70, sheet.shape[1])]]
    assert (margins == sheet[0, 0]).all()  # captions keep to the width of their images
    assert (sheet[:SHEET_CAPTION, left : left + 70] != sheet[0, 0]).any()


def test_a_sheet_in_rows_holds_the_sheets_of_its_rows(tmp_path):
    images = list(np.random.default_rng(0).integers(0, 256, (5, 20, 30), dtype=np.uint8))
    contact_sheet(images, list("abcde"), tmp_path / "grid.png", columns=2)
    grid = np.array(Image.open(tmp_path / "grid.png"))
    height = SHEET_CAPTION + 20 + SHEET_GAP
    assert grid.shape == (3 * height, 2 * 30 + 3 * SHEET_GAP, 3)
    for row in range(2):
        contact_sheet(images[2 * row : 2 * row + 2], list("abcde")[2 * row : 2 * row + 2], tmp_path / "row.png")
        np.testing.assert_array_equal(grid[row * height : (row + 1) * height], np.array(Image.open(tmp_path / "row.png")))


def test_the_same_sheet_is_the_same_bytes(tmp_path):
    pixels = np.arange(256, dtype=np.uint8).reshape(16, 16)
    for name in ("a.png", "b.png"):
        contact_sheet([pixels] * 3, ["accompaniment", "edges", "Übung – 歌"], tmp_path / name)
    assert (tmp_path / "a.png").read_bytes() == (tmp_path / "b.png").read_bytes()


@pytest.mark.parametrize(
    ("images", "captions"),
    [
        ([], []),
        ([np.zeros((4, 4), np.uint8)], []),
        ([np.zeros((4, 4))], ["float"]),
        ([np.zeros((4, 4, 4), np.uint8)], ["four channels"]),
        ([np.zeros((0, 4), np.uint8)], ["empty"]),
    ],
)
def test_invalid_sheets_are_refused_and_nothing_is_written(tmp_path, images, captions):
    with pytest.raises(DataError, match=r"sheet\.png"):
        contact_sheet(images, captions, tmp_path / "sheet.png")
    assert list(tmp_path.iterdir()) == []
