"""What every setting costs: time, bytes, the ε that was reached, the size of what is deployed."""

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any

from experiments.study.alike import told_apart
from experiments.study.points import Point, Taken, place, point
from experiments.study.results import Result

SECONDS = (
    "Seconds are by the clock, of one machine on which several cells ran at once: they compare settings of one study, "
    "no more."
)


def cost_points(results: Sequence[Result]) -> list[Point]:
    """Return seconds, bytes sent by all clients, ε reached and sizes for every setting; what no cell knows is left out.

    Settings whose federations differ in something else have a column that says in what.
    """
    metrics: dict[str, Callable[[Result], float | None]] = {
        "seconds of federation": lambda one: _number(one.manifest.get("seconds"), "federation"),
        "seconds of evaluation": lambda one: _number(one.manifest.get("seconds"), "evaluation"),
        "bytes up": _bytes_up,
        "epsilon reached": lambda one: one.epsilon,
        "bytes of fp32": lambda one: _number(one.evaluation.get("compression"), "fp32_bytes"),
        "bytes of int8": lambda one: _number(one.evaluation.get("compression"), "int8_bytes"),
        "size reduction": lambda one: _number(one.evaluation.get("compression"), "size_reduction"),
    }
    points = []
    for group in told_apart(results, lambda one: one.setting, evaluation=False):
        where = place(group.results[0].setting) | ({"differs in": group.apart} if group.apart else {})
        points += [
            point(group.results, {**where, "metric": metric}, partial(_taken, measured))
            for metric, measured in metrics.items()
        ]
    measured_at_all = {one.where["metric"] for one in points if one.estimate is not None}
    return [Point(one.where, one.estimate) for one in points if one.where["metric"] in measured_at_all]


def _bytes_up(result: Result) -> float | None:
    clients = result.manifest.get("bytes")
    if not isinstance(clients, Mapping) or not clients:
        return None
    counts = [_number(client, "up") for client in clients.values()]
    return None if None in counts else float(sum(count for count in counts if count is not None))


def _number(table: Any, key: str) -> float | None:
    value = table.get(key) if isinstance(table, Mapping) else None
    return float(value) if isinstance(value, int | float) else None


def _taken(measured: Callable[[Result], float | None], result: Result) -> Taken:
    value = measured(result)
    return None if value is None else (value, 0)
