"""Aggregation rules by name: ours, Flower's, or a user's own."""

import inspect
from collections.abc import Mapping
from typing import Any

from flwr.serverapp import strategy as flower
from flwr.serverapp.strategy import FedAvg, Strategy

from common.config import Experiment
from common.errors import UserError
from common.loading import load, suggest
from common.rules.bulyan import bulyan, least_for_bulyan
from common.rules.centered_clipping import centered_clipping, least_for_centered_clipping
from common.rules.geometric_median import geometric_median, least_for_geometric_median
from common.rules.krum import krum, least_for_krum, least_for_multi_krum, multi_krum
from common.rules.median import least_for_median, median
from common.rules.rule import Rule
from common.rules.trimmed_mean import least_for_trimmed_mean, trimmed_mean
from server.robust_strategy import RobustStrategy

AGGREGATION: dict[str, tuple[type[Strategy] | Rule, str]] = {
    "fedavg": (FedAvg, "mean weighted by records (McMahan et al. 2017); one client can move it anywhere"),
    "median": (Rule(median, least_for_median), "coordinate-wise median (Yin et al. 2018)"),
    "trimmed-mean": (
        Rule(trimmed_mean, least_for_trimmed_mean),
        "coordinate-wise mean without the outer shares; option beta = 0.2 a side",
    ),
    "krum": (
        Rule(krum, least_for_krum),
        "the one update nearest to its neighbours (Blanchard et al. 2017); option num_malicious_nodes, 2f + 3 clients",
    ),
    "multi-krum": (
        Rule(multi_krum, least_for_multi_krum),
        "mean of the updates that Krum ranks best; num_malicious_nodes, num_nodes_to_select",
    ),
    "bulyan": (
        Rule(bulyan, least_for_bulyan),
        "Krum, then a trimmed mean (El Mhamdi et al. 2018); num_malicious_nodes, 4f + 3 clients",
    ),
    "geometric-median": (
        Rule(geometric_median, least_for_geometric_median),
        "the point with the smallest sum of distances (Pillutla et al. 2022); iterations, tolerance",
    ),
    "centered-clipping": (
        Rule(centered_clipping, least_for_centered_clipping),
        "mean of updates clipped around a center (Karimireddy et al. 2021); clip_norm (needed), iterations",
    ),
}
"""Name → (Flower strategy or our rule, one line for ``psreval list aggregation``)."""

_FIELD = "federation.aggregation"
_OPTIONS = "federation.aggregation_options"
_FLOWER = "flower:"
_OURS = {"fraction_evaluate": 0.0, "min_train_nodes": 1, "min_available_nodes": 1, "min_evaluate_nodes": 0}


def build_strategy(name: str, options: Mapping[str, Any]) -> Strategy:
    """Return the strategy; evaluation stays with the server, waiting and checking with ``server.federation``.

    Args:
        name: one of ``AGGREGATION``, ``flower:CLASS`` for a class of ``flwr.serverapp.strategy`` as it is, or
            ``file.py:Class`` for a user's own Flower ``Strategy``.
        options: of the rule, and of the sampling (``fraction_train`` and the like).

    Raises:
        UserError: unknown name, file, class or option; an option out of its range; a class that is no Flower
            ``Strategy``.
    """
    kind = _flower_class(name) if name.startswith(_FLOWER) else load(name, _kinds(), _FIELD)
    if isinstance(kind, Rule):
        return _robust(kind, options)
    if not (inspect.isclass(kind) and issubclass(kind, Strategy)):
        raise UserError(f"{_FIELD} = '{name}' is not a class derived from flwr.serverapp.strategy.Strategy")
    parameters = inspect.signature(kind).parameters
    takes_any = any(parameter.kind is parameter.VAR_KEYWORD for parameter in parameters.values())
    if not takes_any:
        _refuse_unknown(options, parameters)
    defaults = {key: value for key, value in _OURS.items() if key in parameters or takes_any}
    try:
        strategy: Strategy = kind(**{**defaults, **options})
    except Exception as error:
        raise UserError(f"{_FIELD} = '{name}' does not accept {dict(options)}: {error}") from None
    return strategy


def check_rule(experiment: Experiment) -> None:
    """Build the description's rule, and refuse one that even the whole roster could not feed.

    Raises:
        UserError: as ``build_strategy``; a rule that needs more updates than a round can bring.
    """
    federation = experiment.federation
    strategy = build_strategy(federation.aggregation, federation.aggregation_options)
    if not isinstance(strategy, RobustStrategy):
        return
    clients = len(experiment.roster())
    sampled = min(clients, max(int(clients * strategy.fraction_train), strategy.min_train_nodes))
    if sampled < strategy.least:
        given = ", ".join(f"{key} = {value}" for key, value in strategy.options.items())
        raise UserError(
            f"{_FIELD} = '{federation.aggregation}'{f' with {given}' if given else ''} needs at least {strategy.least} "
            f"updates in a round, and {sampled} of the {clients} clients are asked; choose another rule or other "
            f"{_OPTIONS}, or add clients"
        )


def _robust(rule: Rule, options: Mapping[str, Any]) -> RobustStrategy:
    own = inspect.signature(rule.least).parameters.keys()
    sampling = inspect.signature(RobustStrategy).parameters.keys() - {"rule", "options"}
    _refuse_unknown(options, own | sampling)
    try:
        return RobustStrategy(
            rule,
            {key: value for key, value in options.items() if key in own},
            **{key: value for key, value in options.items() if key in sampling},
        )
    except ValueError as error:
        raise UserError(f"{_OPTIONS}.{error}") from None


def _flower_class(name: str) -> type[Strategy]:
    known = {
        word: kind
        for word, kind in vars(flower).items()
        if inspect.isclass(kind) and issubclass(kind, Strategy) and not inspect.isabstract(kind)
    }
    word = name.removeprefix(_FLOWER)
    if word not in known:
        raise UserError(f"{_FIELD} = '{name}': flwr.serverapp.strategy has no class '{word}'{suggest(word, known)}")
    return known[word]


def _kinds() -> dict[str, type[Strategy] | Rule]:
    return {name: kind for name, (kind, _) in AGGREGATION.items()}


def _refuse_unknown(options: Mapping[str, Any], known: Any) -> None:
    for option in options:
        if option not in known:
            raise UserError(f"{_OPTIONS}.{option}: unknown key{suggest(option, known)}")
