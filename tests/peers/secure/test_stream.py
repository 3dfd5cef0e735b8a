import hashlib
import hmac
import math

import numpy as np
import pytest
from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes
from hypothesis import given, settings
from hypothesis import strategies as st

from peers.secure import stream
from peers.secure.field import LARGE, SMALL, Field
from peers.secure.stream import SEED_BYTES, Stream

FIELDS = pytest.mark.parametrize("field", [SMALL, LARGE], ids=["small", "large"])
SEED = hashlib.sha256(b"a seed").digest()


def by_hand(field: Field, seed: bytes, purpose: str, count: int) -> list[int]:
    """Return what a stream draws, from the definitions: HKDF by two HMACs, and the cipher of each counter."""
    extracted = hmac.digest(bytes(32), seed, "sha256")
    info = b"psreval/secure/2/stream/" + str(field.bits).encode() + b"/" + purpose.encode()
    key = hmac.digest(extracted, info + b"\x01", "sha256")
    blocks = -(-count * field.dtype.itemsize // 16)
    encrypted = Cipher(algorithms.AES(key), modes.ECB()).encryptor()
    raw = encrypted.update(b"".join(counter.to_bytes(16, "big") for counter in range(blocks)))
    width = field.dtype.itemsize
    words = [int.from_bytes(raw[width * at : width * (at + 1)], "little") for at in range(count)]
    return [word % (1 << field.bits) for word in words]


class Scripted:
    """A cipher whose key stream is a given one."""

    def __init__(self, raw: bytes) -> None:
        self.rest = raw

    def __call__(self, *_: object) -> "Scripted":
        """Stand for the cipher's constructor."""
        return self

    def encryptor(self) -> "Scripted":
        """Stand for the context."""
        return self

    def update(self, data: bytes) -> bytes:
        """Return the next bytes."""
        taken, self.rest = self.rest[: len(data)], self.rest[len(data) :]
        assert len(taken) == len(data), "drawn further than scripted"
        return taken


def scripted(monkeypatch: pytest.MonkeyPatch, field: Field, words: list[int]) -> Stream:
    """Return a stream whose cipher says these words."""
    raw = b"".join(word.to_bytes(field.dtype.itemsize, "little") for word in words)
    monkeypatch.setattr(stream, "Cipher", Scripted(raw))
    return Stream(field, SEED, "test")


@FIELDS
@pytest.mark.parametrize("purpose", ["update", "", "π"])
def test_elements_are_those_of_the_definition(field: Field, purpose: str) -> None:
    drawn = Stream(field, SEED, purpose).draw(37)
    assert drawn.dtype == field.dtype
    assert drawn.tolist() == by_hand(field, SEED, purpose, 37)  # none of which happens to be the modulus


@FIELDS
def test_one_seed_gives_the_same_elements_each_time(field: Field) -> None:
    assert np.array_equal(Stream(field, SEED, "a").draw(100), Stream(field, SEED, "a").draw(100))


@FIELDS
@settings(max_examples=50)
@given(st.lists(st.integers(0, 40), max_size=6))
def test_draws_one_after_the_other_are_one_draw(field: Field, counts: list[int]) -> None:
    piecewise = Stream(field, SEED, "a")
    parts = [piecewise.draw(count) for count in counts]
    whole = Stream(field, SEED, "a").draw(sum(counts))
    assert [one for part in parts for one in part.tolist()] == whole.tolist()


@FIELDS
@pytest.mark.parametrize("shape", [(0,), (5,), (3, 4), (2, 0), (2, 3, 4)])
def test_a_shape_is_filled_row_by_row(field: Field, shape: tuple[int, ...]) -> None:
    drawn = Stream(field, SEED, "a").draw(*shape)
    assert drawn.shape == shape
    assert drawn.dtype == field.dtype
    assert drawn.reshape(-1).tolist() == Stream(field, SEED, "a").draw(math.prod(shape)).tolist()


@FIELDS
def test_another_purpose_or_seed_gives_other_elements(field: Field) -> None:
    seeds = [SEED, bytes(32), bytes([*SEED[:-1], SEED[-1] ^ 1])]
    firsts = {int(Stream(field, seed, purpose).draw(1)[0]) for seed in seeds for purpose in ("", "a", "b", "ab")}
    assert len(firsts) == 12


def test_another_field_gives_other_elements_and_not_parts_of_the_same() -> None:
    small, large = Stream(SMALL, SEED, "a").draw(64), Stream(LARGE, SEED, "a").draw(32)
    parts = {int(one) >> shift & SMALL.modulus for one in large for shift in (0, 30, 31, 32)}
    assert not parts & set(small.tolist())


@FIELDS
@pytest.mark.parametrize("high", [0, 1])
def test_the_modulus_is_never_drawn_and_nothing_else_is_left_out(
    monkeypatch: pytest.MonkeyPatch, field: Field, high: int
) -> None:
    """Whatever the bits above the modulus are: they do not count."""
    prime, above = field.modulus, high << field.bits
    words = [prime - 1, prime, 0, prime, prime, 1, 2, prime, 3, 4]
    drawn = scripted(monkeypatch, field, [word | above for word in words]).draw(6)
    assert drawn.tolist() == [prime - 1, 0, 1, 2, 3, 4]
    assert drawn.dtype == field.dtype


@FIELDS
@pytest.mark.parametrize("counts", [[7], [1] * 7, [3, 4], [6, 1], [0, 2, 5]])
def test_draws_are_one_draw_though_the_modulus_is_left_out(
    monkeypatch: pytest.MonkeyPatch, field: Field, counts: list[int]
) -> None:
    prime = field.modulus
    source = scripted(monkeypatch, field, [prime, 10, 11, prime, prime, prime, 12, 13, prime, 14, prime, 15, 16])
    assert [one for count in counts for one in source.draw(count).tolist()] == [10, 11, 12, 13, 14, 15, 16]


@FIELDS
def test_a_shape_is_filled_though_the_modulus_is_left_out(monkeypatch: pytest.MonkeyPatch, field: Field) -> None:
    prime = field.modulus
    assert scripted(monkeypatch, field, [1, prime, 2, 3, 4]).draw(2, 2).tolist() == [[1, 2], [3, 4]]


@FIELDS
def test_elements_are_spread_evenly(field: Field) -> None:
    """Chi-squared over 64 equal ranges, and every bit set half of the time: of one fixed draw, so no test by chance."""
    count = 1 << 16
    drawn = Stream(field, SEED, "uniform").draw(count).astype(np.uint64)
    expected = count / 64
    for bins in (drawn >> np.uint64(field.bits - 6), drawn & np.uint64(63)):
        chi = float((((np.bincount(bins.astype(np.int64), minlength=64) - expected) ** 2) / expected).sum())
        assert 20 < chi < 130  # 63 degrees of freedom: mean 63, standard deviation 11
    for bit in range(field.bits):
        ones = int(((drawn >> np.uint64(bit)) & np.uint64(1)).sum())
        assert abs(ones - count / 2) < 6 * math.sqrt(count) / 2


@FIELDS
def test_elements_next_to_each_other_are_unrelated(field: Field) -> None:
    drawn = Stream(field, SEED, "uniform").draw(1 << 16).astype(np.float64) / field.modulus - 0.5
    for lag in (1, 2, 3, 4):
        assert abs(float(np.mean(drawn[lag:] * drawn[:-lag]))) < 6 / 12 / 256


@pytest.mark.parametrize("length", [0, 16, 31, 33, 64])
def test_a_seed_of_another_length_is_refused(length: int) -> None:
    with pytest.raises(ValueError, match=f"a seed has {SEED_BYTES} bytes, not {length}"):
        Stream(SMALL, bytes(length), "a")


@pytest.mark.parametrize("count", [1, 3, 4, 5, 400])
def test_ternary_numbers_are_differences_of_two_bits_the_highest_first(count: int) -> None:
    """From the definitions, as ``by_hand``: the first byte's first two bits make the first number."""
    words = by_hand(LARGE, SEED, "test", 2 + count // 32)  # 61 of each 64 bits are told by the oracle
    found = Stream(LARGE, SEED, "test").ternary(count).tolist()
    bits = [[word >> bit & 1 for byte in range(7) for bit in range(8 * byte + 7, 8 * byte - 1, -1)] for word in words]
    for word, told in enumerate(bits):
        expected = [told[2 * place] - told[2 * place + 1] for place in range(28)]
        here = found[32 * word : 32 * word + 28]
        assert here == expected[: len(here)]


@FIELDS
def test_ternary_numbers_do_not_depend_on_the_field_but_for_its_key(field: Field) -> None:
    drawn = Stream(field, SEED, "test").ternary(7, 3)
    assert drawn.dtype == np.int8
    assert drawn.shape == (7, 3)
    assert drawn.reshape(-1).tolist() == Stream(field, SEED, "test").ternary(21).tolist()
    assert Stream(field, SEED, "test").ternary(0, 5).shape == (0, 5)


def test_half_of_the_ternary_numbers_are_zero_and_a_quarter_each_is_one_or_minus_one() -> None:
    """Within five standard deviations; so are pairs of neighbours, which are independent."""
    count = 200_000
    drawn = Stream(LARGE, SEED, "test").ternary(count)
    chance = {-1: 0.25, 0: 0.5, 1: 0.25}
    for one, likely in chance.items():
        assert abs(int((drawn == one).sum()) - count * likely) < 5 * math.sqrt(count * likely * (1 - likely))
        for other, likewise in chance.items():
            both = likely * likewise
            found = int(((drawn[0::2] == one) & (drawn[1::2] == other)).sum())
            assert abs(found - count / 2 * both) < 5 * math.sqrt(count / 2 * both * (1 - both))


def test_two_draws_of_ternary_numbers_are_different() -> None:
    stream_ = Stream(LARGE, SEED, "test")
    one, other = stream_.ternary(300), stream_.ternary(300)
    assert (one != other).any()
    assert (Stream(LARGE, SEED, "another").ternary(300) != one).any()
