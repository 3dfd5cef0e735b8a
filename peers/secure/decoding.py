"""Reed–Solomon decoding: the polynomial behind values of which some are wrong, and which those are.

Gao 2003, "A new algorithm for decoding Reed–Solomon codes". Polynomials are lists of coefficients, the constant first.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from peers.secure.field import Elements, Field
from peers.secure.sharing import interpolation

_Polynomial = list[int]


class UndecodableError(Exception):
    """No polynomial of the degree is near enough to the values."""


@dataclass(frozen=True)
class Decoded:
    """A polynomial that was found.

    Attributes:
        coefficients: the constant first.
        wrong: places of the values that are not its own, in order.
    """

    coefficients: tuple[int, ...]
    wrong: tuple[int, ...]

    def at(self, field: Field, point: int) -> int:
        """Return the polynomial's value."""
        return _value(self.coefficients, point, field.modulus)


def decode(field: Field, points: Sequence[int], values: Sequence[int], degree: int) -> Decoded:
    """Return the polynomial of at most a degree from which at most (len(points) − degree − 1) // 2 values differ.

    Values that are missing are left out, with their points: each costs half of a wrong one.

    Args:
        field: the field.
        points: different ones.
        values: at the points.
        degree: at least 0.

    Raises:
        UndecodableError: there is none; or fewer points than a polynomial of the degree needs.
    """
    prime, count = field.modulus, len(points)
    if count <= degree:
        raise UndecodableError(f"{count} values do not determine a polynomial of degree {degree}")
    vanishing = [1]
    for point in points:
        vanishing = _times(vanishing, [-point % prime, 1], prime)
    former, rest = vanishing, _through(points, values, prime)
    before, factor = [0], [1]
    while 2 * (len(rest) - 1) >= count + degree + 1:
        quotient, remainder = _divided(former, rest, prime)
        before, factor = factor, _minus(before, _times(quotient, factor, prime), prime)
        former, rest = rest, remainder
    found, remainder = _divided(rest, factor, prime)
    if remainder != [0] or len(found) - 1 > degree:
        raise UndecodableError(
            f"no polynomial of degree {degree} is within {(count - degree - 1) // 2} of {count} values"
        )
    wrong = tuple(
        place for place, (point, value) in enumerate(zip(points, values, strict=True))
        if _value(found, point, prime) != value
    )  # fmt: skip
    if 2 * len(wrong) > count - degree - 1:
        raise UndecodableError(f"the nearest polynomial of degree {degree} differs in {len(wrong)} of {count} values")
    return Decoded(tuple(found), wrong)


def consistent(field: Field, points: Sequence[int], values: Elements, degree: int) -> NDArray[np.bool]:
    """Tell for each column of ``values`` [points, columns] whether it lies on one polynomial of at most the degree."""
    known, rest = tuple(points[: degree + 1]), tuple(points[degree + 1 :])
    expected = field.product(interpolation(field, known, rest), values[: degree + 1])
    return np.asarray(np.all(expected == values[degree + 1 :], axis=0))


def _through(points: Sequence[int], values: Sequence[int], prime: int) -> _Polynomial:
    """Return the polynomial through all values: Newton's divided differences."""
    differences = [int(value) for value in values]
    for order in range(1, len(points)):
        for place in range(len(points) - 1, order - 1, -1):
            step = points[place] - points[place - order]
            differences[place] = (differences[place] - differences[place - 1]) * pow(step, -1, prime) % prime
    result: _Polynomial = [0]
    for point, difference in zip(reversed(points), reversed(differences), strict=True):
        result = _times(result, [-point % prime, 1], prime)
        result[0] = (result[0] + difference) % prime
    return _trimmed(result)


def _value(polynomial: Sequence[int], point: int, prime: int) -> int:
    total = 0
    for coefficient in reversed(polynomial):
        total = (total * point + coefficient) % prime
    return total


def _times(left: _Polynomial, right: _Polynomial, prime: int) -> _Polynomial:
    result = [0] * (len(left) + len(right) - 1)
    for place, one in enumerate(left):
        if one:
            for other, coefficient in enumerate(right):
                result[place + other] = (result[place + other] + one * coefficient) % prime
    return _trimmed(result)


def _minus(left: _Polynomial, right: _Polynomial, prime: int) -> _Polynomial:
    size = max(len(left), len(right))
    padded = [(*left, *[0] * (size - len(left))), (*right, *[0] * (size - len(right)))]
    return _trimmed([(one - other) % prime for one, other in zip(*padded, strict=True)])


def _divided(dividend: _Polynomial, divisor: _Polynomial, prime: int) -> tuple[_Polynomial, _Polynomial]:
    """Return quotient and remainder."""
    rest, inverse = list(dividend), pow(divisor[-1], -1, prime)
    quotient = [0] * max(1, len(dividend) - len(divisor) + 1)
    for place in range(len(dividend) - len(divisor), -1, -1):
        factor = rest[place + len(divisor) - 1] * inverse % prime
        quotient[place] = factor
        if factor:
            for offset, coefficient in enumerate(divisor):
                rest[place + offset] = (rest[place + offset] - factor * coefficient) % prime
    return _trimmed(quotient), _trimmed(rest[: max(1, len(divisor) - 1)])


def _trimmed(polynomial: _Polynomial) -> _Polynomial:
    while len(polynomial) > 1 and polynomial[-1] == 0:
        polynomial.pop()
    return polynomial
