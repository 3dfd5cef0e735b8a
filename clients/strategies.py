"""Every client strategy by name, and how a description's ``strategy`` and ``options`` become one."""

import copy
import inspect
import typing
from collections.abc import Mapping
from typing import Any

from pydantic import TypeAdapter, ValidationError

from clients.adversarial_training import AdversarialTraining
from clients.data_poisoner import DataPoisoner
from clients.honest import Honest, StrategyError
from clients.label_flipper import LabelFlipper
from clients.options import Attack
from clients.update_poisoner import UpdatePoisoner
from common.description import Client
from common.errors import UserError
from common.loading import load, suggest

CLIENTS: dict[str, type[Honest]] = {
    "honest": Honest,
    "adversarial-training": AdversarialTraining,
    "data-poisoner": DataPoisoner,
    "label-flipper": LabelFlipper,
    "update-poisoner": UpdatePoisoner,
}
"""The strategies that a description may name; any other is ``file.py:Class``."""

METHODS = ("prepare", "train", "send")


def build_strategy(client: Client) -> Honest:
    """Return the client's strategy with its options; ``setting`` is still to be given.

    A class from a user's own file needs the methods ``prepare``, ``train`` and ``send``; ``honest`` is taken as false
    unless the class itself says ``honest = True``. Its ``__init__`` is given the options by name; annotated ones are
    checked.

    Raises:
        UserError: unknown strategy, option or attack; a value of the wrong type or out of range.
        StrategyError: the class lacks a method, or its ``__init__`` raises.
    """
    place = f"clients: '{client.name or client.strategy}'"
    if client.adversarial_training is not None:
        _check(Attack, client.adversarial_training.attack, f"{place}: adversarial_training.attack")
    kind = load(client.strategy, CLIENTS, f"{place}: strategy")
    if kind not in CLIENTS.values():
        kind = _own(kind, client.strategy, place)
    # Copies: a description is read once for all clients and rounds, and a strategy may change what it is given.
    options = copy.deepcopy(_checked(kind, client.options, f"{place}: options"))
    try:
        strategy: Honest = kind(**options)
    except UserError:
        raise
    except (Exception, SystemExit) as error:
        raise StrategyError(f"{place}: {kind.__name__}.__init__ raised {type(error).__name__}: {error}") from error
    return strategy


def descriptions() -> dict[str, str]:
    """Return each strategy's name, what it does, and its options with their defaults."""
    return {name: _description(kind) for name, kind in CLIENTS.items()}


def _description(kind: type[Honest]) -> str:
    summary = (inspect.getdoc(kind) or "").splitlines()[0]
    shown = [f"{name} = {_shown(name, option.default)}" for name, option in _options(kind).items()]
    return f"{summary} Options: {', '.join(shown)}." if shown else summary


def _shown(name: str, default: Any) -> str:
    if name in ("eps", "step_size"):
        return f'"{default * 255:g}/255"'
    return "none" if default is None else f'"{default}"' if isinstance(default, str) else f"{default:g}"


def _own(kind: Any, name: str, place: str) -> type[Honest]:
    """Check a user's class, and say whether it counts as honest."""
    if not isinstance(kind, type):
        raise StrategyError(
            f"{place}: strategy = '{name}' is a {type(kind).__name__}; name a class with {', '.join(METHODS)}"
        )
    missing = [method for method in METHODS if not callable(getattr(kind, method, None))]
    if missing:
        raise StrategyError(
            f"{place}: class {kind.__name__} has no method {missing[0]}; give it {', '.join(METHODS)}, or derive it "
            "from clients.honest.Honest"
        )
    # Derived from Honest, a class inherits honest = True; that it keeps to the rules it must say itself.
    if not isinstance(vars(kind).get("honest"), bool):
        kind = type(kind.__name__, (kind,), {"honest": False, "__module__": kind.__module__, "__doc__": kind.__doc__})
    return typing.cast("type[Honest]", kind)


def _options(kind: type) -> dict[str, inspect.Parameter]:
    parameters = list(inspect.signature(kind).parameters.values())
    return {parameter.name: parameter for parameter in parameters if parameter.kind is not parameter.VAR_POSITIONAL}


def _checked(kind: type, options: Mapping[str, Any], place: str) -> dict[str, Any]:
    """Return the options, each as its annotation in ``__init__`` asks for it."""
    known = _options(kind)
    if any(parameter.kind is parameter.VAR_KEYWORD for parameter in known.values()):
        return dict(options)
    for name, parameter in known.items():
        if name not in options and parameter.default is parameter.empty:
            raise UserError(f"{place}.{name} is required by {kind.__name__}")
    try:
        hints = typing.get_type_hints(kind.__init__, include_extras=True)  # type: ignore[misc]
    except Exception:
        hints = {}  # an annotation that cannot be read is not checked
    checked = {}
    for name, value in options.items():
        if name not in known:
            hint = suggest(name, known) if known else f"; {kind.__name__} takes none"
            raise UserError(f"{place}.{name}: unknown option{hint}")
        checked[name] = _check(hints[name], value, f"{place}.{name}") if name in hints else value
    return checked


def _check(kind: Any, value: Any, place: str) -> Any:
    try:
        # Strict but for whole numbers where a fraction is meant: "0.5" and true are no numbers.
        return TypeAdapter(kind).validate_python(value, strict=True)
    except ValidationError as error:
        shown = f"'{value}'" if isinstance(value, str) else value
        message = error.errors()[0]["msg"].removeprefix("Value error, ")
        raise UserError(f"{place} = {shown}: {message[:1].lower() + message[1:]}") from None
    except Exception:
        return value  # an annotation that pydantic has no check for
