"""Pseudorandom field elements from a seed: uniform, the same everywhere, and drawn in blocks of any size."""

import numpy as np
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes
from cryptography.hazmat.primitives.kdf.hkdf import HKDF
from numpy.typing import NDArray

from peers.secure.field import Elements, Field
from peers.secure.labels import STREAM

SEED_BYTES = 32


class Stream:
    """Field elements that whoever knows the seed can draw, too: AES-256 in counter mode, numbers too large left out.

    Args:
        field: of the elements.
        seed: 32 bytes.
        purpose: what they are for; other purposes give independent elements.

    Raises:
        ValueError: a seed of another length.
    """

    def __init__(self, field: Field, seed: bytes, purpose: str) -> None:
        if len(seed) != SEED_BYTES:
            raise ValueError(f"a seed has {SEED_BYTES} bytes, not {len(seed)}")
        info = STREAM + b"/%d/" % field.bits + purpose.encode()
        key = HKDF(hashes.SHA256(), 32, salt=None, info=info).derive(seed)
        self._field = field
        self._cipher = Cipher(algorithms.AES(key), modes.CTR(bytes(16))).encryptor()

    def draw(self, *shape: int) -> Elements:
        """Return the next elements; two draws of 3 and 4 are one of 7."""
        count = int(np.prod(shape, dtype=np.int64))
        parts, missing = [], count
        while missing:
            kept = self._below(missing)
            parts.append(kept)
            missing -= kept.size
        whole = parts[0] if len(parts) == 1 else np.concatenate([*parts, self._field.zeros(0)])
        return whole.reshape(shape)

    def ternary(self, *shape: int) -> NDArray[np.int8]:
        """Return numbers that are 0 with probability 1/2, and −1 or 1 with 1/4 each."""
        count = int(np.prod(shape, dtype=np.int64))
        pairs = np.unpackbits(np.frombuffer(self._cipher.update(bytes(-(-count // 4))), np.uint8)).astype(np.int8)
        return (pairs[0 : 2 * count : 2] - pairs[1 : 2 * count : 2]).reshape(shape)

    def _below(self, words: int) -> Elements:
        field = self._field
        raw = self._cipher.update(bytes(words * field.dtype.itemsize))
        drawn: Elements = np.frombuffer(raw, field.dtype.newbyteorder("<")) & field.dtype.type(field.modulus)
        refused = drawn == field.modulus
        return drawn[~refused] if refused.any() else drawn
