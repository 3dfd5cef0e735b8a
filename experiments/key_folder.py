"""A folder in which keys and certificates are made: the authority in it, what it has signed, and careful writes."""

from datetime import datetime, timedelta
from pathlib import Path

from cryptography import x509
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from common.errors import UserError
from common.folder import replace_whole
from experiments.authority import new_authority, new_key, read_certificate, read_key

_RENEWAL = timedelta(days=30)


def open_authority(folder: Path, time: datetime, *copies: Path) -> tuple[x509.Certificate, list[str]]:
    """Return the certificate of the authority in ``folder / "authority"``, made if there is none, and what to say.

    Args:
        folder: of all keys.
        time: now, with a zone.
        copies: where else its certificate may lie, if the authority itself is kept elsewhere.

    Raises:
        UserError: it has expired, or half of it is missing.
    """
    place, key_place = folder / "authority" / "ca.crt", folder / "authority" / "ca.key"
    for found in (place, *copies):
        if found.exists():
            authority = read_certificate(found)
            if authority.not_valid_after_utc <= time:
                raise UserError(
                    f"{found} expired on {day(authority)}; make all keys and certificates anew in an empty folder"
                )
            return authority, []
    if key_place.exists():
        raise UserError(f"{key_place} is there but {place} is not; put that back, or remove the key")
    key = new_key()
    authority = new_authority(key, time)
    write(key_place, pem(key), 0o600)
    write(place, authority.public_bytes(Encoding.PEM), 0o644)
    return authority, [
        f"authority: new, valid until {day(authority)}; keep {key_place} away from the federation's machines"
    ]


def authority_key(folder: Path, authority: x509.Certificate, whose: str) -> ec.EllipticCurvePrivateKey:
    """Return the authority's key, to sign ``whose`` certificate. Raises UserError: missing, or another's."""
    place = folder / "authority" / "ca.key"
    if not place.exists():
        raise UserError(f"{place} is missing, and {whose} certificate needs its signature; put it back for now")
    key = read_key(place)
    if key.public_key() != authority.public_key():
        raise UserError(f"{place} is not the key of the authority's certificate; put the right file back")
    return key


def signed_by(authority: x509.Certificate, place: Path) -> x509.Certificate:
    """Read a certificate that this authority has signed. Raises UserError: another has."""
    certificate = read_certificate(place)
    try:
        certificate.verify_directly_issued_by(authority)
    except (ValueError, TypeError, InvalidSignature):
        raise UserError(
            f"{place} is not signed by this folder's authority; put the right authority back, or use an empty folder"
        ) from None
    return certificate


def why_renew(old: x509.Certificate, time: datetime) -> str | None:
    """Say why a certificate must be issued anew for its age: less than 30 days, or a third of its time, are left."""
    left = old.not_valid_after_utc - time
    if left <= timedelta(0):
        return f"renewed: the old one expired on {day(old)}"
    if left < min(_RENEWAL, (old.not_valid_after_utc - old.not_valid_before_utc) / 3):
        return f"renewed: the old one would expire on {day(old)}"
    return None


def day(certificate: x509.Certificate) -> str:
    """Return the day on which a certificate expires."""
    return certificate.not_valid_after_utc.date().isoformat()


def pem(key: ec.EllipticCurvePrivateKey | Ed25519PrivateKey) -> bytes:
    """Return a private key as text, without a password."""
    return key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())


def write(place: Path, content: bytes, mode: int) -> None:
    """Write a file whole or not at all; new folders are for their owner only. Raises OSError."""
    for folder in reversed([place.parent, *place.parent.parents]):
        if not folder.exists():
            folder.mkdir(mode=0o700)
    replace_whole(place, content, mode)
