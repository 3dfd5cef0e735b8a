"""Keys and certificates of a federation on several machines: one authority, one server, a key for each hospital.

The server shows a certificate that the authority has signed, so that a hospital knows whom it talks to (TLS).
A hospital signs what it asks with a key of its own, whose public half lies at the server, so that the server knows who
asks: these keys are what Flower's SuperNode authentication reads.

    FOLDER/authority/   ca.crt, ca.key        whoever runs the federation; the key is needed to renew the server's
    FOLDER/server/      ca.crt, server.crt, server.key, nodes/NAME.pub
    FOLDER/NAME/        ca.crt, node.key      to this hospital and to nobody else
"""

import os
import re
import tempfile
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path

from cryptography import x509
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, PublicFormat

from common.errors import UserError
from experiments.authority import new_authority, new_key, read_certificate, read_key, server_name, sign_server

SERVER_DAYS = 365
ALWAYS = ("localhost", "127.0.0.1")
"""Names that every server certificate holds, for health checks and trials on the server's own machine."""

_RENEWAL = timedelta(days=30)
_NODE = re.compile(r"[A-Za-z0-9_][A-Za-z0-9 _.-]{0,39}")  # as a client's name in a description
_RESERVED = ("authority", "server")


def make_certificates(
    folder: Path,
    server_names: Sequence[str],
    nodes: Sequence[str],
    *,
    days: int = SERVER_DAYS,
    now: datetime | None = None,
) -> list[str]:
    """Make what is missing, and leave what is there.

    A server certificate is issued anew, for the same key, if it has expired, will within 30 days (or the last third of
    its time), or lacks one of the names. Nothing else is ever overwritten.

    Args:
        folder: where the folders of the module's description lie.
        server_names: DNS names and IP addresses under which hospitals reach the server; ``localhost`` and
            ``127.0.0.1`` are added, and so are the names that the certificate already holds.
        nodes: the hospitals' names, as in the experiment's description.
        days: how long a server certificate is valid; the authority's is for ten years.
        now: the time, with a zone; None: this machine's.

    Returns:
        One sentence for each thing that was made or found.

    Raises:
        UserError: a bad name; a file that cannot be read or written; the authority has expired, or its key is needed
            and not there; a hospital whose key the server no longer holds.
    """
    if not 1 <= days <= 3650:
        raise UserError(f"days = {days}: give 1 to 3650 days for which the server's certificate shall be valid")
    for node in nodes:
        _check_node(node)
    wanted = [server_name(name) for name in dict.fromkeys(server_names)]
    time = now or datetime.now(UTC)
    try:
        authority, said = _authority(folder, time)
        said.append(_server(folder, authority, wanted, timedelta(days=days), time))
        (folder / "server" / "nodes").mkdir(mode=0o700, exist_ok=True)  # for keys that hospitals make themselves
        return said + [_node(folder, authority, node) for node in dict.fromkeys(nodes)]
    except OSError as error:
        raise UserError(f"{error.filename or folder} could not be read or written: {error.strerror}") from None


def _authority(folder: Path, time: datetime) -> tuple[x509.Certificate, list[str]]:
    place, key_place = folder / "authority" / "ca.crt", folder / "authority" / "ca.key"
    for found in (place, folder / "server" / "ca.crt"):
        if found.exists():
            authority = read_certificate(found)
            if authority.not_valid_after_utc <= time:
                raise UserError(
                    f"{found} expired on {_day(authority)}; make all keys and certificates anew in an empty folder"
                )
            return authority, []
    if key_place.exists():
        raise UserError(f"{key_place} is there but {place} is not; put that back, or remove the key")
    key = new_key()
    authority = new_authority(key, time)
    _write(key_place, _pem(key), 0o600)
    _write(place, authority.public_bytes(Encoding.PEM), 0o644)
    return authority, [f"authority: new, valid until {_day(authority)}; keep {key_place} away from the server"]


def _server(
    folder: Path, authority: x509.Certificate, wanted: list[x509.GeneralName], length: timedelta, time: datetime
) -> str:
    place, key_place = folder / "server" / "server.crt", folder / "server" / "server.key"
    held: list[x509.GeneralName] = []
    why = "new"
    if place.exists():
        if not key_place.exists():
            raise UserError(f"{key_place} is missing; put it back, or remove {place} for a new key and certificate")
        old = _signed_by(authority, place)
        held = list(old.extensions.get_extension_for_class(x509.SubjectAlternativeName).value)
        reason = _reason(old, set(wanted) - set(held), time)
        if reason is None:
            return f"server: has its certificate for {_list(held)}, valid until {_day(old)}"
        why = reason
    names = list(dict.fromkeys([*wanted, *held, *map(server_name, ALWAYS)]))
    signing = _authority_key(folder / "authority" / "ca.key", authority)
    key = read_key(key_place) if key_place.exists() else new_key()
    certificate = sign_server(authority, signing, key.public_key(), names, time, length)
    if not key_place.exists():
        _write(key_place, _pem(key), 0o600)
    _write(folder / "server" / "ca.crt", authority.public_bytes(Encoding.PEM), 0o644)
    _write(place, certificate.public_bytes(Encoding.PEM), 0o644)
    return f"server: certificate for {_list(names)}, valid until {_day(certificate)} ({why})"


def _reason(old: x509.Certificate, added: set[x509.GeneralName], time: datetime) -> str | None:
    """Say why a certificate must be issued anew; None if it need not."""
    left = old.not_valid_after_utc - time
    if left <= timedelta(0):
        return f"renewed: the old one expired on {_day(old)}"
    if left < min(_RENEWAL, (old.not_valid_after_utc - old.not_valid_before_utc) / 3):
        return f"renewed: the old one would expire on {_day(old)}"
    return f"issued anew for {_list(sorted(added, key=str))}" if added else None


def _node(folder: Path, authority: x509.Certificate, name: str) -> str:
    key_place, public_place = folder / name / "node.key", folder / "server" / "nodes" / f"{name}.pub"
    if public_place.exists():
        return f"{name}: has its key; for another, remove {public_place} and {folder / name} first"
    if key_place.exists():
        raise UserError(
            f"{key_place} is there, but {public_place} is not: the server no longer admits this key; "
            f"remove {folder / name} for a new one"
        )
    key = new_key()
    _write(key_place, key.private_bytes(Encoding.PEM, PrivateFormat.OpenSSH, NoEncryption()), 0o600)
    _write(folder / name / "ca.crt", authority.public_bytes(Encoding.PEM), 0o644)
    line = key.public_key().public_bytes(Encoding.OpenSSH, PublicFormat.OpenSSH)
    _write(public_place, line + b"\n", 0o644)  # last: a hospital whose folder is half made is not admitted
    return f"{name}: new key; hand {folder / name} to this hospital and to nobody else"


def _check_node(name: str) -> None:
    if not _NODE.fullmatch(name):
        raise UserError(
            f"node name '{name}': use up to 40 letters, digits, '_', '-' or '.', and begin with a letter, digit or '_'"
        )
    if name.lower() in _RESERVED:
        raise UserError(f"node name '{name}': another folder is called so; give the hospital another name")


def _signed_by(authority: x509.Certificate, place: Path) -> x509.Certificate:
    certificate = read_certificate(place)
    try:
        certificate.verify_directly_issued_by(authority)
    except (ValueError, TypeError, InvalidSignature):
        raise UserError(
            f"{place} is not signed by this folder's authority; put the right authority back, or use an empty folder"
        ) from None
    return certificate


def _authority_key(place: Path, authority: x509.Certificate) -> ec.EllipticCurvePrivateKey:
    if not place.exists():
        raise UserError(f"{place} is missing, and the server's certificate needs its signature; put it back for now")
    key = read_key(place)
    if key.public_key() != authority.public_key():
        raise UserError(f"{place} is not the key of the authority's certificate; put the right file back")
    return key


def _list(names: Sequence[x509.GeneralName]) -> str:
    return ", ".join(str(name.value) for name in names)


def _day(certificate: x509.Certificate) -> str:
    return certificate.not_valid_after_utc.date().isoformat()


def _pem(key: ec.EllipticCurvePrivateKey) -> bytes:
    return key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())


def _write(place: Path, content: bytes, mode: int) -> None:
    """Write whole or not at all; new folders are for their owner only."""
    for folder in reversed([place.parent, *place.parent.parents]):
        if not folder.exists():
            folder.mkdir(mode=0o700)
    handle, temporary = tempfile.mkstemp(dir=place.parent, prefix=f".{place.name}.")  # for its owner only
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        os.chmod(temporary, mode)
        os.replace(temporary, place)
    except BaseException:
        Path(temporary).unlink(missing_ok=True)
        raise
