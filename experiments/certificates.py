"""Keys and certificates of a federation on several machines: one authority, one server, a key for each hospital.

The server shows a certificate that the authority has signed, so that a hospital knows whom it talks to (TLS).
A hospital signs what it asks with a key of its own, whose public half lies at the server, so that the server knows who
asks: these keys are what Flower's SuperNode authentication reads.

    FOLDER/authority/   ca.crt, ca.key        whoever runs the federation; the key is needed to renew the server's
    FOLDER/server/      ca.crt, server.crt, server.key, nodes/NAME.pub
    FOLDER/NAME/        ca.crt, node.key      to this hospital and to nobody else
"""

import re
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, PublicFormat

from common.errors import UserError
from experiments.authority import new_key, read_key, server_name, sign_server
from experiments.key_folder import authority_key, day, open_authority, pem, signed_by, why_renew, write

SERVER_DAYS = 365
ALWAYS = ("localhost", "127.0.0.1")
"""Names that every server certificate holds, for health checks and trials on the server's own machine."""

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
        authority, said = open_authority(folder, time, folder / "server" / "ca.crt")
        said.append(_server(folder, authority, wanted, timedelta(days=days), time))
        (folder / "server" / "nodes").mkdir(mode=0o700, exist_ok=True)  # for keys that hospitals make themselves
        return said + [_node(folder, authority, node) for node in dict.fromkeys(nodes)]
    except OSError as error:
        raise UserError(f"{error.filename or folder} could not be read or written: {error.strerror}") from None


def _server(
    folder: Path, authority: x509.Certificate, wanted: list[x509.GeneralName], length: timedelta, time: datetime
) -> str:
    place, key_place = folder / "server" / "server.crt", folder / "server" / "server.key"
    held: list[x509.GeneralName] = []
    why = "new"
    if place.exists():
        if not key_place.exists():
            raise UserError(f"{key_place} is missing; put it back, or remove {place} for a new key and certificate")
        old = signed_by(authority, place)
        held = list(old.extensions.get_extension_for_class(x509.SubjectAlternativeName).value)
        reason = _reason(old, set(wanted) - set(held), time)
        if reason is None:
            return f"server: has its certificate for {_list(held)}, valid until {day(old)}"
        why = reason
    names = list(dict.fromkeys([*wanted, *held, *map(server_name, ALWAYS)]))
    signing = authority_key(folder, authority, "the server's")
    key = read_key(key_place) if key_place.exists() else new_key()
    certificate = sign_server(authority, signing, key.public_key(), names, time, length)
    if not key_place.exists():
        write(key_place, pem(key), 0o600)
    write(folder / "server" / "ca.crt", authority.public_bytes(Encoding.PEM), 0o644)
    write(place, certificate.public_bytes(Encoding.PEM), 0o644)
    return f"server: certificate for {_list(names)}, valid until {day(certificate)} ({why})"


def _reason(old: x509.Certificate, added: set[x509.GeneralName], time: datetime) -> str | None:
    """Say why a certificate must be issued anew; None if it need not."""
    names = f"issued anew for {_list(sorted(added, key=str))}" if added else None
    return why_renew(old, time) or names


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
    write(key_place, key.private_bytes(Encoding.PEM, PrivateFormat.OpenSSH, NoEncryption()), 0o600)
    write(folder / name / "ca.crt", authority.public_bytes(Encoding.PEM), 0o644)
    line = key.public_key().public_bytes(Encoding.OpenSSH, PublicFormat.OpenSSH)
    write(public_place, line + b"\n", 0o644)  # last: a hospital whose folder is half made is not admitted
    return f"{name}: new key; hand {folder / name} to this hospital and to nobody else"


def _check_node(name: str) -> None:
    if not _NODE.fullmatch(name):
        raise UserError(
            f"node name '{name}': use up to 40 letters, digits, '_', '-' or '.', and begin with a letter, digit or '_'"
        )
    if name.lower() in _RESERVED:
        raise UserError(f"node name '{name}': another folder is called so; give the hospital another name")


def _list(names: Sequence[x509.GeneralName]) -> str:
    return ", ".join(str(name.value) for name in names)
