"""The keys that peers sign what they say with, as ``psreval peers certificates`` lays them out in folders.

They are keys of their own, not those of the certificates: a certificate's key may be replaced with the next one, and
what was signed years ago is to be verified still; and no signature of one purpose can be passed off for another's.

    FOLDER/NAME/signing.key, signing.pub, peers/OTHER.pub
"""

import os
import stat
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from cryptography.hazmat.primitives.serialization import load_pem_private_key, load_pem_public_key

from common.errors import UserError

SIGNING_KEY, SIGNING_PUBLIC = "signing.key", "signing.pub"
"""Of a peer's folder: the key that it signs with, for its owner only, and its public half."""
_REMEDY = "`psreval peers certificates` makes what is missing"


@dataclass(frozen=True)
class SigningKeys:
    """What one peer signs and verifies with.

    Attributes:
        own: its key.
        public: the public key of each peer, by name, its own among them.
    """

    own: Ed25519PrivateKey
    public: Mapping[str, Ed25519PublicKey]


def load_signing_keys(folder: Path, name: str, others: Iterable[str]) -> SigningKeys:
    """Read a peer's own key, and the public keys of the others.

    Args:
        folder: the peer's, as ``peers.credentials.Credentials.load`` reads it.
        name: its own.
        others: the other peers' names.

    Raises:
        UserError: one is missing, is none, or is another's, too; or anybody but its owner may read the secret one.
    """
    if not (folder / SIGNING_KEY).exists() and (folder / SIGNING_PUBLIC).exists():
        raise UserError(
            f"there is no {folder / SIGNING_KEY}, only its public half, which the others know; put the key back from a "
            f"copy (without {SIGNING_PUBLIC}, too, `psreval peers certificates` makes a new pair, with which all begin "
            "another run)"
        )
    own = read_signing_key(folder / SIGNING_KEY)
    public = {name: own.public_key()}
    for other in others:
        public[other] = read_public_key(folder / "peers" / f"{other}.pub")
    seen: dict[bytes, str] = {}
    for whose, key in public.items():
        first = seen.setdefault(key.public_bytes_raw(), whose)
        if first != whose:
            raise UserError(f"{folder}: {first} and {whose} have the same signing key; put the right files back")
    return SigningKeys(own, public)


def read_signing_key(place: Path) -> Ed25519PrivateKey:
    """Read a key to sign with (PEM, no password). Raises UserError: it is missing, none, or not its owner's alone."""
    raw = _content(place)
    if os.name != "nt" and stat.S_IMODE(place.stat().st_mode) & 0o077:
        raise UserError(f"{place} can be read by others, who could then sign as this peer; chmod 600 {place}")
    try:
        key = load_pem_private_key(raw, None)
    except (ValueError, TypeError, UnsupportedAlgorithm):
        key = None
    if not isinstance(key, Ed25519PrivateKey):
        raise UserError(f"{place} is not an Ed25519 key without a password; put the right file back")
    return key


def read_public_key(place: Path) -> Ed25519PublicKey:
    """Read the public half of such a key (PEM). Raises UserError: it is missing, or none."""
    try:
        key = load_pem_public_key(_content(place))
    except (ValueError, UnsupportedAlgorithm):
        key = None
    if not isinstance(key, Ed25519PublicKey):
        raise UserError(f"{place} is not a public Ed25519 key; put the right file back")
    return key


def read_trusted_keys(folder: Path) -> dict[str, bytes]:
    """Return each peer's public key, 32 bytes, by name.

    Args:
        folder: of all peers' folders, or a folder with one ``NAME.pub`` for each peer.

    Raises:
        UserError: there are none, or one cannot be read.
    """
    places = {file.parent.name: file for file in sorted(folder.glob(f"*/{SIGNING_PUBLIC}"))}
    places = places or {file.stem: file for file in sorted(folder.glob("*.pub"))}
    if not places:
        raise UserError(
            f"--keys {folder}: there is no NAME/{SIGNING_PUBLIC} and no NAME.pub in it; name the folder that `psreval "
            "peers certificates` made, or one with the public signing key of each peer"
        )
    return {name: read_public_key(file).public_bytes_raw() for name, file in places.items()}


def _content(place: Path) -> bytes:
    try:
        return place.read_bytes()
    except FileNotFoundError:
        raise UserError(f"there is no {place}, which protocol = 'secure' needs; {_REMEDY}") from None
    except OSError as error:
        raise UserError(f"{place} could not be read ({error.strerror}); {_REMEDY}") from None
