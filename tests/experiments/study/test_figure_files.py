import hashlib
import os
import subprocess
import sys
from pathlib import Path
from xml.etree import ElementTree

import matplotlib
import pytest
from matplotlib.figure import Figure
from PIL import Image

from experiments.drawing import styled
from experiments.study.figure_files import FORMATS, figure_bytes, inline, write_figure
from experiments.study.sheet import Heading, sheet
from experiments.study.style import TARGETS, bar_key

DRAW = """
import hashlib
from tests.experiments.study.test_figure_files import drawn, FORMATS, figure_bytes
print(*(hashlib.sha256(figure_bytes(drawn(), form)).hexdigest() for form in FORMATS))
"""


def drawn() -> Figure:
    with styled():
        figure, [[axes]] = sheet(
            Heading("Überschrift ε", "$x_1$ & <b>"), height=1.5, legend=[bar_key(*one) for one in TARGETS.items()]
        )
        axes.bar([0, 1], [0.2, 0.9], hatch="////")
        axes.fill_between([0, 1], [0, 0], [1, 1], alpha=0.2)
    return figure


def test_the_same_drawing_gives_the_same_bytes_in_another_process() -> None:
    here = " ".join(hashlib.sha256(figure_bytes(drawn(), form)).hexdigest() for form in FORMATS)
    ran = subprocess.run(
        [sys.executable, "-c", DRAW], env={**os.environ, "PYTHONHASHSEED": "1", "TZ": "UTC-9"},
        cwd=Path(__file__).parents[3], capture_output=True, text=True, check=True,
    )  # fmt: skip
    assert ran.stdout.strip() == here


def test_no_file_tells_a_date_or_a_program() -> None:
    for form in FORMATS:
        content = figure_bytes(drawn(), form).lower()
        assert not any(word in content for word in (b"matplotlib v", b"matplotlib.org", b"creationdate", b"<dc:date>"))


def test_files_are_on_white_and_as_large_as_the_page(tmp_path: Path) -> None:
    figure = drawn()
    paths = write_figure(figure, "stem", tmp_path / "new")
    assert [path.name for path in paths] == ["stem.svg", "stem.png", "stem.pdf"]
    with Image.open(paths[1]) as image:
        assert image.getpixel((0, 0))[:3] == (255, 255, 255)  # type: ignore[index]
        assert image.size == tuple(int(200 * inches) for inches in figure.get_size_inches())
    assert ElementTree.parse(paths[0]).getroot().tag.endswith("svg")
    assert paths[2].read_bytes().startswith(b"%PDF")


def test_settings_are_as_before() -> None:
    before = dict(matplotlib.rcParams)
    for form in FORMATS:
        figure_bytes(drawn(), form)
    assert dict(matplotlib.rcParams) == before


def test_a_page_gets_an_element_with_a_name() -> None:
    root = ElementTree.fromstring(inline(drawn(), "a"))
    assert root.get("aria-label") == "Überschrift ε. $x_1$ & <b>"
    with pytest.raises(KeyError):
        figure_bytes(drawn(), "gif")
