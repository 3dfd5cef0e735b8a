import csv
import io

from common.intervals import wilson
from server.measures import measure, to_csv


def test_rows_read_back_equal() -> None:
    rows = [
        measure(
            "int8", "white-box", "pgd", "accuracy", 1 / 3, 60, generator="twin", budget=(8 / 255, 2 / 255, 10), repeat=0
        ),
        measure("fp32", "clean", "none", "auroc", 0.9, 60),
    ]
    first, second = csv.DictReader(io.StringIO(to_csv(rows)))
    assert float(first["value"]) == 1 / 3
    assert float(first["eps"]) == 8 / 255
    assert (float(first["low"]), float(first["high"])) == wilson(1 / 3, 60)
    assert second["low"] == second["repeat"] == second["generator"] == ""
