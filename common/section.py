"""A section of a description: frozen, an unknown key is an error, and all mistakes come in one sentence."""

from collections.abc import Mapping
from typing import Annotated, Any, TypeVar

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationError

from common.errors import UserError
from common.mistakes import sentence


class Section(BaseModel):
    """A part of the description; frozen, and an unknown key is an error."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False, validate_default=True)


AnySection = TypeVar("AnySection", bound=Section)


def validated(kind: type[AnySection], tree: Mapping[str, Any], origin: str) -> AnySection:
    """Return ``tree`` as a section of this kind. Raises UserError, one sentence for all that is wrong."""
    try:
        return kind.model_validate(tree)
    except ValidationError as error:
        lines = [sentence(dict(problem), kind) for problem in error.errors()]
        raise UserError(f"{origin}: " + "; ".join(dict.fromkeys(lines))) from None


def _fraction(value: Any) -> Any:
    """Read ``"8/255"`` or ``"0.03"`` as a number."""
    if not isinstance(value, str):
        return value
    above, _, below = value.partition("/")
    try:
        return float(above) / float(below or 1)
    except (ValueError, ZeroDivisionError):
        raise ValueError("write a number, or a fraction such as '8/255'") from None


def _budget(value: Any) -> Any:
    number = _fraction(value)
    if isinstance(number, int | float) and not isinstance(number, bool) and number > 1:
        raise ValueError(f"is above 1, but images live in [0, 1]; write '{number:g}/255' for {number:g} grey levels")
    return number


def _share(value: Any) -> Any:
    number = _fraction(value)
    if isinstance(number, int | float) and not isinstance(number, bool) and 1 < number <= 100:
        raise ValueError(f"is above 1; write {number / 100:g} for {number:g} per cent")
    return number


def _whole(value: Any) -> Any:
    if isinstance(value, bool):
        raise ValueError("is not a number")
    return value


Budget = Annotated[float, BeforeValidator(_budget), Field(ge=0, le=1)]
"""A perturbation budget or step size in units of [0, 1]; TOML may hold ``"8/255"``."""
Fraction = Annotated[float, BeforeValidator(_share), Field(ge=0, le=1)]
Count = Annotated[int, BeforeValidator(_whole), Field(ge=1, le=10_000_000)]
