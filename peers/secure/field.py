"""Arithmetic modulo a Mersenne prime, 2³¹ − 1 or 2⁶¹ − 1, on numpy arrays: exact, and by floating-point products.

Elements are unsigned integers below the modulus. A matrix product splits its factors into limbs so short that each sum
of products stays below 2⁵³, where float64 is exact; the processor's fastest loop does the work, and what 2^bits ≡ 1
makes of the rest are shifts.
"""

from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

Elements: TypeAlias = NDArray[Any]
"""Unsigned integers below a field's modulus, of the field's type."""
_SHORT, _LONG = (31, 1 << 7), (16, 1 << 22)
"""Bits of the right factor's limbs, and terms summed in float64: 2¹⁵ · 2³¹ · 2⁷ and 2¹⁵ · 2¹⁶ · 2²² are 2⁵³."""
_FEW = 21
"""Bits of a limb that is multiplied by −1, 0 or 1: three make 61, and 2²⁸ of them stay below 2⁵³."""
_FLOAT = 1 << 6
"""Terms whose sum is reduced in float64: 2¹⁵ · 2³¹ · 2⁶ are 2⁵², which leaves room for the other limb's rest."""
_COLUMNS = 2048
"""Columns of a product computed together, so that they stay in the processor's cache."""


@dataclass(frozen=True)
class Field:
    """The integers modulo a Mersenne prime.

    Attributes:
        bits: 31 or 61: the modulus is 2^bits − 1.
    """

    bits: int

    def __post_init__(self) -> None:
        if self.bits not in (31, 61):
            raise ValueError(f"2^{self.bits} - 1 is not one of the two primes in use, of 31 and 61 bits")

    @property
    def modulus(self) -> int:
        """The prime."""
        return (1 << self.bits) - 1

    @property
    def dtype(self) -> np.dtype[Any]:
        """Of an array of elements: the shortest unsigned integer."""
        return np.dtype(np.uint32 if self.bits == 31 else np.uint64)

    def elements(self, integers: NDArray[np.integer[Any]] | int) -> Elements:
        """Return integers of any sign modulo the prime."""
        wide = np.asarray(integers)
        residues: Elements = np.mod(wide if wide.dtype.itemsize == 8 else wide.astype(np.int64), self.modulus)
        return residues.astype(self.dtype)

    def signed(self, elements: Elements) -> NDArray[np.int64]:
        """Return the representatives nearest to zero, as int64."""
        wide = elements.astype(np.int64)
        return wide - np.where(wide > self.modulus // 2, self.modulus, 0)

    def zeros(self, *shape: int) -> Elements:
        """Return an array of zeros."""
        return np.zeros(shape, self.dtype)

    def add(self, left: Elements, right: Elements) -> Elements:
        """Return the sum, element by element."""
        total = np.add(left, right, dtype=self.dtype)  # below 2^(bits + 1): it fits
        return self._below(total)

    def subtract(self, left: Elements, right: Elements) -> Elements:
        """Return the difference, element by element."""
        return self.add(left, self._below(self.dtype.type(self.modulus) - right))

    def multiply(self, left: Elements, right: Elements) -> Elements:
        """Return the product, element by element."""
        one, other = left.astype(np.uint64), np.asarray(right).astype(np.uint64)
        if self.bits == 31:
            return self._folded(one * other)
        half = np.uint64((1 << 31) - 1)
        high, low = one >> np.uint64(31), one & half
        far, near = other >> np.uint64(31), other & half
        cross = high * near + low * far  # below 2⁶²; times 2³¹
        top = (high * far) << np.uint64(1)  # times 2⁶², which is 2
        middle = (cross >> np.uint64(30)) + ((cross & np.uint64((1 << 30) - 1)) << np.uint64(31))
        return self._folded(low * near + top + middle)

    def total(self, elements: Elements, axis: int) -> Elements:
        """Return the sum along an axis of at most 2³¹ elements."""
        wide = elements.astype(np.uint64)
        if self.bits == 31:
            return self._folded(wide.sum(axis=axis, dtype=np.uint64))
        high = self._folded((wide >> np.uint64(32)).sum(axis=axis, dtype=np.uint64))
        low = self._folded((wide & np.uint64(0xFFFFFFFF)).sum(axis=axis, dtype=np.uint64))
        return self.add(self._folded(self._shifted(high, 32)), low)

    def inverse(self, elements: Elements) -> Elements:
        """Return the inverses. Raises ZeroDivisionError: zero has none."""
        if bool((elements == 0).any()):
            raise ZeroDivisionError("zero has no inverse")
        result, power, rest = np.ones_like(elements), elements, self.modulus - 2
        while rest:
            if rest & 1:
                result = self.multiply(result, power)
            power, rest = self.multiply(power, power), rest >> 1
        return result

    def product(self, left: Elements, right: Elements) -> Elements:
        """Return the matrix product [a, b] · [b, c]; cheapest where the right one is the large one.

        Raises:
            ValueError: the shapes do not fit.
        """
        (rows, inner), (other, columns) = left.shape, right.shape
        if inner != other:
            raise ValueError(f"no product of {left.shape} and {right.shape}")
        limbs = self._limbs(left)
        if not rows:
            return self.zeros(0, columns)
        if self.bits == 31 and inner <= _FLOAT:
            return self._product_in_floats(limbs, right)
        width, most = _SHORT if inner <= _SHORT[1] else _LONG
        result = np.empty((rows, columns), self.dtype)
        for start in range(0, columns, _COLUMNS):
            here = slice(start, min(start + _COLUMNS, columns))
            total = np.zeros((rows, here.stop - start), np.uint64)
            for first in range(0, inner, most):
                terms = slice(first, first + most)
                total = self._plus(total, limbs[:, terms], right[terms, here], width)
            result[:, here] = self._below(total)
        return result

    def _product_in_floats(self, limbs: NDArray[np.float64], right: Elements) -> Elements:
        """Return a product of so few terms that its reduction is exact in float64, too: half the time of integers.

        The quotient that is taken away may be one too small or too large, which is put right in the end.
        """
        rows, prime = len(limbs) // 2, float(self.modulus)
        result = np.empty((rows, right.shape[1]), self.dtype)
        for start in range(0, right.shape[1], _COLUMNS):
            here = slice(start, min(start + _COLUMNS, right.shape[1]))
            sums = limbs @ right[:, here].astype(np.float64)
            low, high = sums[:rows], sums[rows:]
            for numbers in (high, low):
                if numbers is low:
                    high *= 65536.0
                    low += high  # below 2⁵² + 2⁴⁸
                quotient = numbers * (1 / prime)
                np.floor(quotient, out=quotient)
                quotient *= prime
                numbers -= quotient
            np.add(low, prime, out=low, where=low < 0)
            result[:, here] = self._below(low.astype(np.uint32))
        return result

    def product_of_few(self, left: NDArray[np.int8], right: Elements) -> Elements:
        """Return the matrix product [a, b] · [b, c] of −1, 0 and 1 with elements; b is at most 2²⁸."""
        factors = left.astype(np.float64)
        total = np.zeros((left.shape[0], right.shape[1]), np.uint64)
        for low in range(0, self.bits, _FEW):
            part = (right >> right.dtype.type(low)) & right.dtype.type((1 << _FEW) - 1)
            sums = (factors @ part.astype(np.float64)).astype(np.int64)
            total = total + self._shifted(self._reduced(sums), low)
            total = (total & np.uint64(self.modulus)) + (total >> np.uint64(self.bits))
        return self._below(total)

    def to_bytes(self, elements: Elements) -> bytes:
        """Return elements as bytes: 4 or 8 each, the lowest first."""
        return elements.astype(self.dtype.newbyteorder("<")).tobytes()

    def from_bytes(self, raw: bytes, count: int) -> Elements:
        """Return ``count`` elements, to read only. Raises ValueError: another length, or a number too large."""
        if len(raw) != count * self.dtype.itemsize:
            raise ValueError(f"{len(raw)} bytes instead of {count * self.dtype.itemsize}")
        elements = np.frombuffer(raw, self.dtype.newbyteorder("<")).astype(self.dtype, copy=False)
        if count and int(elements.max()) >= self.modulus:
            raise ValueError("a number that is not below the modulus")
        return elements

    def _plus(
        self, total: NDArray[np.uint64], limbs: NDArray[np.float64], right: Elements, width: int
    ) -> NDArray[np.uint64]:
        """Return ``total`` plus a product of so few terms that floats hold it; both of at most 2^bits."""
        rows = total.shape[0]
        for low in range(0, self.bits, width):
            part = (
                right if self.bits <= width else (right >> right.dtype.type(low)) & right.dtype.type((1 << width) - 1)
            )
            sums = (limbs @ part.astype(np.float64)).astype(np.int64)
            for limb in range(sums.shape[0] // rows):
                reduced = self._reduced(sums[limb * rows : (limb + 1) * rows])
                total = total + self._shifted(reduced, (16 * limb + low) % self.bits)
                total = (total & np.uint64(self.modulus)) + (total >> np.uint64(self.bits))
        return total

    def _limbs(self, left: Elements) -> NDArray[np.float64]:
        """Return the rows' limbs of 16 bits below each other, the lowest first, each between −2¹⁵ and 2¹⁵."""
        rest = self.signed(left)
        limbs = []
        for _ in range(-(-self.bits // 16)):
            limb = ((rest + (1 << 15)) & 0xFFFF) - (1 << 15)
            limbs.append(limb)
            rest = (rest - limb) >> 16
        return np.concatenate(limbs).astype(np.float64)

    def _reduced(self, sums: NDArray[np.int64]) -> NDArray[np.uint64]:
        """Return sums of any sign, below 2⁵³ in size, as numbers of at most the modulus."""
        for _ in range(2 if self.bits == 31 else 1):
            sums = (sums & self.modulus) + (sums >> self.bits)
        return sums.astype(np.uint64)

    def _shifted(self, values: NDArray[np.uint64], by: int) -> NDArray[np.uint64]:
        """Return values below 2^bits times 2^by, below 2^bits."""
        if by == 0:
            return values
        wide = values.astype(np.uint64)
        return ((wide << np.uint64(by)) & np.uint64(self.modulus)) | (wide >> np.uint64(self.bits - by))

    def _folded(self, values: NDArray[np.uint64]) -> Elements:
        """Return any 64-bit numbers modulo the prime."""
        for _ in range(2):
            values = (values & np.uint64(self.modulus)) + (values >> np.uint64(self.bits))
        return self._below(values)

    def _below(self, values: NDArray[Any]) -> Elements:
        """Return numbers of at most the modulus twice, less the modulus where they reach it."""
        modulus = values.dtype.type(self.modulus)
        least: Elements = np.minimum(values, np.subtract(values, modulus))
        return least.astype(self.dtype, copy=False)


SMALL, LARGE = Field(31), Field(61)
"""The field of votes, and the one in which sums of squares do not wrap around."""
