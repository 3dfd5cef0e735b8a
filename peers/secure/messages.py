"""What a peer says to all others, signed, and bound to run, round, phase, sender and all that was said before."""

import hashlib
from dataclasses import dataclass
from functools import cached_property

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from peers.secure.context import Context
from peers.secure.labels import ECHO, MESSAGE

SIGNATURE_BYTES = 64
HEAD_BYTES = 32


@dataclass(frozen=True)
class Message:
    """What a peer said in a phase.

    Attributes:
        sender: its number.
        body: what it said.
        signature: 64 bytes.
    """

    sender: int
    body: bytes
    signature: bytes

    @cached_property
    def digest(self) -> bytes:
        """The body's hash."""
        return hashlib.sha256(self.body).digest()

    def encode(self) -> bytes:
        """Return it as bytes; who sends it is not in them."""
        return self.signature + self.body


def say(key: Ed25519PrivateKey, context: Context, phase: str, sender: int, head: bytes, body: bytes) -> Message:
    """Return a signed message.

    Args:
        key: the sender's.
        context: the round.
        phase: what is spoken of; a name used once a round.
        sender: its number.
        head: hash of the transcript so far.
        body: what it says.
    """
    return Message(sender, body, key.sign(_signed(context, phase, sender, head, hashlib.sha256(body).digest())))


def hear(context: Context, phase: str, sender: int, head: bytes, raw: bytes) -> Message | None:
    """Return a message if its signature is its sender's, for this place; else None."""
    message = Message(sender, raw[SIGNATURE_BYTES:], raw[:SIGNATURE_BYTES])
    return message if is_genuine(context, phase, head, message) else None


def is_genuine(context: Context, phase: str, head: bytes, message: Message) -> bool:
    """Tell whether a message is its sender's, and of this place."""
    signed = _signed(context, phase, message.sender, head, message.digest)
    return _verifies(context, message.sender, message.signature, signed)


def witness(key: Ed25519PrivateKey, context: Context, phase: str, head: bytes, message: Message) -> bytes:
    """Return the signature of a peer that has heard a message and passes it on."""
    return key.sign(_heard(context, phase, head, message))


def is_witnessed(context: Context, phase: str, head: bytes, message: Message, peer: int, signature: bytes) -> bool:
    """Tell whether ``peer`` says that it heard a message."""
    return _verifies(context, peer, signature, _heard(context, phase, head, message))


def _signed(context: Context, phase: str, sender: int, head: bytes, digest: bytes) -> bytes:
    return MESSAGE + _place(context, phase, sender, head) + digest


def _heard(context: Context, phase: str, head: bytes, message: Message) -> bytes:
    return ECHO + _place(context, phase, message.sender, head) + message.digest


def _place(context: Context, phase: str, sender: int, head: bytes) -> bytes:
    name = phase.encode()
    return context.binding + len(name).to_bytes(1, "big") + name + sender.to_bytes(4, "big") + head


def _verifies(context: Context, peer: int, signature: bytes, signed: bytes) -> bool:
    key = context.keys.get(peer)
    if key is None or len(signature) != SIGNATURE_BYTES:
        return False
    try:
        key.verify(signature, signed)
    except InvalidSignature:
        return False
    return True
