"""What one peer says to another alone: X25519 for a key that is new in each round, AES-256-GCM under it."""

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey, X25519PublicKey
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from peers.secure.labels import ENVELOPE

PUBLIC_BYTES = 32
TAG_BYTES = 16
"""By which a sealed message is longer than the plain one."""


class SealError(Exception):
    """What came was not sealed by who should have sealed it, or not for here."""


def pair_key(own: X25519PrivateKey, other: bytes, binding: bytes, sender: int, receiver: int) -> bytes:
    """Return the key of what ``sender`` tells ``receiver`` in a round; both compute the same.

    Args:
        own: this peer's secret of the round.
        other: the other's public one.
        binding: of the round (``Context.binding``).
        sender, receiver: peers' numbers; each direction has a key of its own.

    Raises:
        SealError: no key that is safe comes of the other's.
    """
    try:
        shared = own.exchange(X25519PublicKey.from_public_bytes(other))
    except ValueError:
        raise SealError("its public key is none") from None
    info = ENVELOPE + binding + sender.to_bytes(4, "big") + receiver.to_bytes(4, "big")
    return HKDF(hashes.SHA256(), 32, salt=None, info=info).derive(shared)


def seal(key: bytes, number: int, plain: bytes) -> bytes:
    """Return a message that only the other can read; each of a round's messages has a number of its own."""
    return AESGCM(key).encrypt(number.to_bytes(12, "big"), plain, None)


def unseal(key: bytes, number: int, sealed: bytes) -> bytes:
    """Return what was sealed. Raises SealError: another key, another number, or a changed byte."""
    try:
        return AESGCM(key).decrypt(number.to_bytes(12, "big"), sealed, None)
    except (InvalidTag, ValueError):
        raise SealError("it was sealed otherwise, or changed") from None
