"""Who a peer is and whom it knows: its own certificate and key, and the certificate of each other peer."""

import ssl
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from cryptography.x509.oid import NameOID

from common.errors import UserError
from peers.wire import RefusedError, short


@dataclass(frozen=True)
class Credentials:
    """What ``psreval peers certificates`` made for one peer.

    Attributes:
        folder: ``ca.crt``, ``peer.crt``, ``peer.key`` and ``peers/OTHER.crt``.
        name: of this peer, as its certificate has it.
        known: other peer → its public key.
        expires: when this peer's own certificate does, with a zone.
    """

    folder: Path
    name: str
    known: Mapping[str, bytes]
    expires: datetime

    @staticmethod
    def load(folder: Path, *, now: datetime | None = None) -> "Credentials":
        """Read a peer's folder; ``now`` is the time, with a zone, None this machine's.

        Raises:
            UserError: a file is missing or is not what its name says, or the peer's own certificate has expired.
        """
        for name in ("ca.crt", "peer.crt", "peer.key"):
            if not (folder / name).is_file():
                raise UserError(f"peer.certificates: {folder} has no {name}; `psreval peers certificates` makes it")
        own = _certificate(folder / "peer.crt")
        if own.not_valid_after_utc <= (now or datetime.now(UTC)):
            raise UserError(
                f"{folder / 'peer.crt'} expired on {own.not_valid_after_utc.date()}, so every other peer would refuse "
                "this one; `psreval peers certificates` renews it"
            )
        known = {}
        for file in sorted((folder / "peers").glob("*.crt")):
            other = _certificate(file)
            with _mistakes_of(file):
                if _name(other) != file.stem:
                    raise RefusedError(f"it is the certificate of '{short(_name(other))}'")
            known[file.stem] = _public(other)
        with _mistakes_of(folder / "peer.crt"):
            credentials = Credentials(folder, _name(own), known, own.not_valid_after_utc)
        credentials.listening()  # so that mistakes in the files are told now
        return credentials

    def listening(self) -> ssl.SSLContext:
        """Return how to shake hands with who dials: only a certificate that the authority signed is accepted."""
        return self._context(ssl.PROTOCOL_TLS_SERVER)

    def dialling(self) -> ssl.SSLContext:
        """Return how to shake hands with a peer that is dialled."""
        return self._context(ssl.PROTOCOL_TLS_CLIENT)

    def who(self, certificate: bytes | None) -> str:
        """Return whose certificate (DER) the other side of a handshake has shown.

        Raises:
            RefusedError: nobody's whom this peer knows, or with another key than the one that is known.
        """
        if certificate is None:
            raise RefusedError("it showed no certificate")
        shown = x509.load_der_x509_certificate(certificate)
        name = _name(shown)
        if name not in self.known:
            raise RefusedError(f"its certificate is that of '{short(name)}', whom this peer does not know")
        if _public(shown) != self.known[name]:
            raise RefusedError(f"its certificate says '{name}', but its key is not the one that is known")
        return name

    def _context(self, side: int) -> ssl.SSLContext:
        context = ssl.SSLContext(side)
        context.minimum_version = ssl.TLSVersion.TLSv1_3
        context.check_hostname = False  # a peer is known by its key, wherever it is; see ``who``
        context.verify_mode = ssl.CERT_REQUIRED
        context.verify_flags |= ssl.VERIFY_X509_STRICT
        try:
            context.load_verify_locations(self.folder / "ca.crt")
            context.load_cert_chain(self.folder / "peer.crt", self.folder / "peer.key", password="")
        except (ssl.SSLError, OSError) as error:
            raise UserError(
                f"peer.certificates: peer.crt and peer.key in {self.folder} are not a certificate and its key, or "
                f"ca.crt is none ({error.strerror or error})"
            ) from None
        return context


def _certificate(file: Path) -> x509.Certificate:
    try:
        return x509.load_pem_x509_certificate(file.read_bytes())
    except (ValueError, OSError) as error:
        raise UserError(f"{file} is not a certificate that can be read ({error}); put the right file back") from None


def _name(certificate: x509.Certificate) -> str:
    names = certificate.subject.get_attributes_for_oid(NameOID.COMMON_NAME)
    if len(names) != 1:
        raise RefusedError("its certificate does not have one name")
    return str(names[0].value)


def _public(certificate: x509.Certificate) -> bytes:
    return certificate.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)


@contextmanager
def _mistakes_of(file: Path) -> Iterator[None]:
    try:
        yield
    except RefusedError as error:
        raise UserError(f"{file}: {error}; put the right file back") from None
