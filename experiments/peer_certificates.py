"""Keys and certificates of a federation without a server: one authority, and a key and a certificate for each peer.

A peer shows its certificate whether it asks or is asked, and each peer knows the others' certificates: a certificate
that the authority has signed is not enough, its key must be the one that is known under the name.

    FOLDER/authority/   ca.crt, ca.key        whoever brings the peers together; needed to renew certificates
    FOLDER/NAME/        ca.crt, peer.crt, peer.key, peers/OTHER.crt      to this peer and to nobody else
                        signing.key, signing.pub, peers/OTHER.pub        what it signs with (``peers.secure.keys``)

A certificate that is renewed keeps its key, so the others need not learn the new one.
"""

import re
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat, load_pem_public_key

from common.errors import UserError
from experiments.authority import new_key, read_certificate, read_key, sign_peer
from experiments.key_folder import authority_key, day, open_authority, pem, signed_by, why_renew, write
from peers.secure.keys import SIGNING_KEY, SIGNING_PUBLIC, read_public_key, read_signing_key

PEER_DAYS = 365

_NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9 _.-]{0,39}")  # as a client's name in a description


def make_peer_certificates(
    folder: Path, peers: Sequence[str], *, days: int = PEER_DAYS, now: datetime | None = None
) -> list[str]:
    """Make what is missing, and leave what is there.

    A certificate is issued anew, for the same key, if it has expired or will within 30 days (or the last third of its
    time). A peer that makes its own keys puts the public halves there as ``FOLDER/NAME/peer.pub`` and ``signing.pub``;
    then no secret half is made. No key is ever overwritten.

    Args:
        folder: where the folders of the module's description lie.
        peers: all names, as in the experiment's description; those whose folders are there already are added.
        days: how long a peer's certificate is valid; the authority's is for ten years.
        now: the time, with a zone; None: this machine's.

    Returns:
        One sentence for each thing that was made or found.

    Raises:
        UserError: a bad name; fewer than two peers; a file that cannot be read or written; the authority has expired,
            or its key is needed and not there.
    """
    if not 1 <= days <= 3650:
        raise UserError(f"days = {days}: give 1 to 3650 days for which the peers' certificates shall be valid")
    before = sorted(place.parent.name for place in folder.glob("*/peer.crt"))
    names = list(dict.fromkeys([*peers, *before]))
    for name in names:
        _check_name(name)
    if len(names) < 2:
        raise UserError(f"{folder}: a federation without a server needs at least two peers; name each with --peer NAME")
    time = now or datetime.now(UTC)
    try:
        authority, said = open_authority(folder, time)
        said += [_peer(folder, authority, name, timedelta(days=days), time) for name in names]
        said += [sentence for name in names for sentence in _make_signing_key(folder / name)]
        for name in names:
            for other in names:
                if other != name:
                    _copy(folder / other / "peer.crt", folder / name / "peers" / f"{other}.crt")
                    if (folder / other / SIGNING_PUBLIC).exists():
                        _copy(folder / other / SIGNING_PUBLIC, folder / name / "peers" / f"{other}.pub")
        return said
    except OSError as error:
        raise UserError(f"{error.filename or folder} could not be read or written: {error.strerror}") from None


def _peer(folder: Path, authority: x509.Certificate, name: str, length: timedelta, time: datetime) -> str:
    place, key_place = folder / name / "peer.crt", folder / name / "peer.key"
    why = "new"
    if place.exists():
        old = signed_by(authority, place)
        reason = why_renew(old, time)
        if reason is None:
            return f"{name}: has its certificate, valid until {day(old)}"
        why = reason
    public = _public(folder / name, place)
    certificate = sign_peer(authority, authority_key(folder, authority, f"{name}'s"), public, name, time, length)
    write(folder / name / "ca.crt", authority.public_bytes(Encoding.PEM), 0o644)
    write(place, certificate.public_bytes(Encoding.PEM), 0o644)  # last: a folder half made is made again
    secret = f"; hand {folder / name} to this peer and to nobody else" if key_place.exists() else ""
    return f"{name}: certificate valid until {day(certificate)} ({why}){secret}"


def _public(home: Path, certificate: Path) -> ec.EllipticCurvePublicKey:
    """Return the public key of a peer: of its key, of the half that it has sent, or of a new key."""
    key_place, public_place = home / "peer.key", home / "peer.pub"
    if key_place.exists():
        return read_key(key_place).public_key()
    if public_place.exists():
        try:
            public = load_pem_public_key(public_place.read_bytes())
        except ValueError:
            public = None
    elif certificate.exists():  # the secret half is where it belongs, and no longer here
        public = read_certificate(certificate).public_key()
    else:
        key = new_key()
        write(key_place, pem(key), 0o600)
        return key.public_key()
    if not isinstance(public, ec.EllipticCurvePublicKey):
        raise UserError(f"{public_place} holds no public elliptic-curve key; put the right file back, or remove it")
    return public


def _make_signing_key(home: Path) -> list[str]:
    """Make the key that a peer signs with, unless there is one, or its public half alone; return what to say."""
    place, public_place = home / SIGNING_KEY, home / SIGNING_PUBLIC
    if not place.exists() and not public_place.exists():
        if not (home / "peer.key").exists():  # it makes its own keys
            return [f"{home.name}: has no {SIGNING_PUBLIC}, which protocol = 'secure' needs; put it into {home}"]
        write(place, pem(Ed25519PrivateKey.generate()), 0o600)
    if place.exists():
        public = read_signing_key(place).public_key()
        if not public_place.exists():
            write(public_place, public.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo), 0o644)
        if read_public_key(public_place) != public:
            raise UserError(f"{public_place} is not the public half of {place}; put the right file back, or remove it")
    read_public_key(public_place)
    return []


def _copy(place: Path, copy: Path) -> None:
    content = place.read_bytes()
    if not copy.exists() or copy.read_bytes() != content:
        write(copy, content, 0o644)


def _check_name(name: str) -> None:
    if not _NAME.fullmatch(name):
        raise UserError(
            f"peer name '{name}': use up to 40 letters, digits, '_', '-' or '.', and begin with a letter, digit or '_'"
        )
    if name.lower() == "authority":
        raise UserError(f"peer name '{name}': the authority's folder is called so; give the peer another name")
