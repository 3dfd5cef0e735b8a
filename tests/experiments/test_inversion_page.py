"""The table, the numbers and the drawing of inversion, from scores that are made up."""

import base64
import io
import json
import re

import numpy as np
import pytest
import torch
from PIL import Image

from experiments.inversion_page import Row, drawing, drawing_bytes, page, table
from experiments.inversion_scores import Scores


def scores(psnr: list[float], rank: list[int]) -> Scores:
    values = torch.tensor(psnr, dtype=torch.float64)
    return Scores(values, values / 40, torch.tensor(rank), torch.arange(len(psnr)))


def images() -> torch.Tensor:
    return torch.rand(8, 1, 32, 32, generator=torch.Generator().manual_seed(1))


@pytest.fixture
def row() -> Row:
    found = [scores([20.0], [1]), scores([22.0], [1]), scores([24.0], [3]), scores([26.0], [1])]
    guess = [scores([10.0], [50]), scores([12.0], [60]), scores([14.0], [70]), scores([16.0], [80])]
    return Row("server", "update", found, guess, [0.1] * 4, 3.0, images())


def test_a_line_says_mean_spread_interval_and_what_is_above_a_guess(row: Row) -> None:
    line = table([row], 900).splitlines()[-1]
    cells = [cell.strip() for cell in line.strip("|").split("|")]
    assert cells[:4] == ["server", "update", "4", "23.0 ± 2.6"]
    assert cells[5] == "3 of 4 (30–95 %)"
    assert cells[6] == "1 of 900"
    assert cells[7] == "+10.0 (+10.0 to +10.0)"


def test_two_repeats_have_no_interval_and_a_row_without_guess_has_a_dash() -> None:
    pair = [scores([20.0, 21.0], [1, 2]), scores([22.0, 23.0], [1, 1])]
    lower = [scores([19.0, 20.0], [9, 9]), scores([20.0, 21.0], [9, 9])]
    lines = table([Row("a", "b", pair, lower), Row("nobody", "mean", pair)], 900).splitlines()
    assert lines[-2].endswith("| +1.5 (n = 2) |")
    assert lines[-1].endswith("| — |")


def test_all_numbers_are_in_the_json(row: Row) -> None:
    told = json.loads(json.dumps(row.as_json(), allow_nan=False))
    assert told["psnr"] == [20, 22, 24, 26]
    assert told["rank"] == [1, 1, 3, 1]
    assert told["guess_rank"] == [50, 60, 70, 80]
    assert len(told["matching_loss"]) == 4


def test_a_page_tells_what_was_run(row: Row) -> None:
    assert "- attack: 5 steps\n" in page([row], 900, {"attack": "5 steps"})


def test_the_drawing_has_a_row_for_each_view_and_is_small_and_the_same_each_time(row: Row) -> None:
    hidden = Row("nobody", "not drawn", row.scores)
    one, other = (drawing_bytes(drawing([row] * 12 + [hidden], images(), 900)) for _ in range(2))
    assert one == other
    assert one.count(b"<image") == 13
    assert len(one) < 300_000


def test_the_drawings_images_are_the_rows_pixels(row: Row) -> None:
    found = re.findall(rb'base64,([^"]*)"', drawing_bytes(drawing([row], 1 - images(), 900)))
    for raw, wanted in zip(found, (1 - images(), images()), strict=True):
        pixels = np.asarray(Image.open(io.BytesIO(base64.b64decode(raw))), dtype=np.float64) / 255
        upright = min((pixels, pixels[::-1]), key=lambda seen: abs(seen[:, :32] - wanted[0, 0].numpy()).max())
        assert abs(upright[:, :32] - wanted[0, 0].numpy()).max() < 1 / 128
        assert abs(upright[:, -32:] - wanted[7, 0].numpy()).max() < 1 / 128
