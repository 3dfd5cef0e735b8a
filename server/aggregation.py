"""Aggregation: Flower's strategies by name, or a user's own."""

import inspect
from collections.abc import Mapping
from typing import Any

from flwr.serverapp.strategy import Bulyan, FedAvg, FedMedian, FedTrimmedAvg, Krum, MultiKrum, Strategy

from common.errors import UserError
from common.loading import load, suggest

AGGREGATION: dict[str, tuple[type[Strategy], str]] = {
    "fedavg": (FedAvg, "mean weighted by records (McMahan et al. 2017); one client can move it anywhere"),
    "median": (FedMedian, "coordinate-wise median (Yin et al. 2018)"),
    "trimmed-mean": (FedTrimmedAvg, "coordinate-wise mean without the outer shares; option beta = 0.2 a side"),
    "krum": (Krum, "the one update nearest to its neighbours (Blanchard et al. 2017); option num_malicious_nodes"),
    "multi-krum": (MultiKrum, "mean of the updates that Krum ranks best; num_malicious_nodes, num_nodes_to_select"),
    "bulyan": (Bulyan, "Krum, then a trimmed mean (El Mhamdi et al. 2018); num_malicious_nodes, 4f + 3 clients"),
}
"""Name → (Flower strategy, one line for ``psreval list aggregation``)."""

_OURS = {"fraction_evaluate": 0.0, "min_train_nodes": 1, "min_available_nodes": 1, "min_evaluate_nodes": 0}


def build_strategy(name: str, options: Mapping[str, Any]) -> Strategy:
    """Return the strategy; evaluation stays with the server, waiting and checking with ``server.federation``.

    Raises:
        UserError: unknown name, file, class or option; a class that is no Flower ``Strategy``.
    """
    field = "federation.aggregation"
    kind = load(name, {known: entry[0] for known, entry in AGGREGATION.items()}, field)
    if not (inspect.isclass(kind) and issubclass(kind, Strategy)):
        raise UserError(f"{field} = '{name}' is not a class derived from flwr.serverapp.strategy.Strategy")
    parameters = inspect.signature(kind).parameters
    takes_any = any(parameter.kind is parameter.VAR_KEYWORD for parameter in parameters.values())
    for option in options:
        if option not in parameters and not takes_any:
            raise UserError(f"federation.aggregation_options.{option}: unknown key{suggest(option, parameters)}")
    defaults = {key: value for key, value in _OURS.items() if key in parameters or takes_any}
    try:
        strategy: Strategy = kind(**{**defaults, **options})
    except Exception as error:
        raise UserError(f"{field} = '{name}' does not accept {dict(options)}: {error}") from None
    return strategy
