"""Mistakes in a description, each as one sentence that names the key, the value and the remedy."""

import re
import typing
from typing import Any

from pydantic import BaseModel

from common.loading import suggest


def sentence(problem: dict[str, Any], kind: type[BaseModel]) -> str:
    """Return one of pydantic's errors in a user's words: the key, the value, the remedy."""
    place = ".".join(
        str(part) for part in problem["loc"] if part not in ("str", "constrained-str") and "[" not in str(part)
    )
    fault, value = problem["type"], problem.get("input")
    if fault == "extra_forbidden":
        return f"{place}: unknown key{suggest(str(problem['loc'][-1]), _known_keys(kind, problem['loc'][:-1]))}"
    message = str(problem["msg"]).removeprefix("Value error, ").removeprefix("Assertion failed, ")
    if fault == "missing":
        return f"{place}: is required"
    message = _PLAINLY.get(fault, message)
    if fault == "literal_error" and isinstance(value, str):
        nearest = suggest(value, re.findall("'([^']*)'", str(problem["ctx"]["expected"])))
        message += nearest if "did you mean" in nearest else ""  # all that are known are named already
    if isinstance(value, BaseModel | dict | list | tuple):
        return f"{place}: {message}" if place else message
    shown = f"'{value}'" if isinstance(value, str) else value
    message = message[:1].lower() + message[1:]
    return f"{place} = {shown}: {message}"


_PLAINLY = {
    "tuple_type": 'write a list, in [brackets]: ["pgd"]',
    "model_type": "write a table: [section] and its keys below, or { key = value }",
    "model_attributes_type": "write a table: [section] and its keys below, or { key = value }",
    "dict_type": "write a table: { key = value }",
    "string_pattern_mismatch": "use up to 40 letters, digits, '_', '-' or '.', and begin with a letter, digit or '_'",
}
"""Faults whose usual wording names Python's types."""


def _known_keys(kind: type[BaseModel], place: tuple[Any, ...]) -> list[str]:
    section: Any = kind
    for part in place:
        if isinstance(part, int):
            continue
        if part not in section.model_fields:
            return []
        section = _section_in(section.model_fields[part].annotation)
    return list(section.model_fields)


def _section_in(annotation: Any) -> Any:
    """Return the section inside ``Section``, ``Section | None`` or ``tuple[Section, ...]``."""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return annotation
    return next((found for part in typing.get_args(annotation) if (found := _section_in(part))), None)
