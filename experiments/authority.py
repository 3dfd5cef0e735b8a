"""What a certificate authority signs, and how keys and certificates are read; no file is written here."""

from datetime import datetime, timedelta
from ipaddress import ip_address
from pathlib import Path
from re import compile as pattern

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import load_pem_private_key
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from common.errors import UserError

AUTHORITY_YEARS = 10
SKEW = timedelta(days=1)
"""Certificates begin so much early: a hospital whose clock is behind accepts a new one."""

_LABEL = pattern(r"(?!-)[A-Za-z0-9_-]{1,63}(?<!-)")


def new_key() -> ec.EllipticCurvePrivateKey:
    """Return a new private key on the curve P-384, the one that Flower's own tools use."""
    return ec.generate_private_key(ec.SECP384R1())


def new_authority(key: ec.EllipticCurvePrivateKey, time: datetime) -> x509.Certificate:
    """Return an authority's certificate, signed by itself, valid for ten years from ``time`` (with a zone)."""
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "psreval authority")])
    usage = x509.KeyUsage(False, False, False, False, False, True, True, False, False)  # signs certificates, no more
    return (
        _builder(name, name, key.public_key(), time, timedelta(days=365 * AUTHORITY_YEARS))
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .add_extension(usage, critical=True)
        .sign(key, hashes.SHA384())
    )


def sign_server(
    authority: x509.Certificate,
    authority_key: ec.EllipticCurvePrivateKey,
    public: ec.EllipticCurvePublicKey,
    names: list[x509.GeneralName],
    time: datetime,
    length: timedelta,
) -> x509.Certificate:
    """Return a server's certificate.

    Args:
        authority, authority_key: who signs.
        public: the server's public key.
        names: under which it may be reached.
        time: now, with a zone.
        length: how long it is valid; not beyond the authority's own end.
    """
    return (
        _signs_handshakes(authority, authority_key, "psreval server", public, time, length)
        .add_extension(x509.SubjectAlternativeName(names), critical=False)
        .add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH]), critical=False)
        .sign(authority_key, hashes.SHA384())
    )


def sign_peer(
    authority: x509.Certificate,
    authority_key: ec.EllipticCurvePrivateKey,
    public: ec.EllipticCurvePublicKey,
    name: str,
    time: datetime,
    length: timedelta,
) -> x509.Certificate:
    """Return a peer's certificate, with which it both listens and dials; its one name is the peer's, not an address.

    The other arguments are those of ``sign_server``.
    """
    both = [ExtendedKeyUsageOID.SERVER_AUTH, ExtendedKeyUsageOID.CLIENT_AUTH]
    return (
        _signs_handshakes(authority, authority_key, name, public, time, length)
        .add_extension(x509.ExtendedKeyUsage(both), critical=False)
        .sign(authority_key, hashes.SHA384())
    )


def server_name(name: str) -> x509.GeneralName:
    """Return a DNS name or IP address as certificates hold them. Raises UserError for anything else."""
    try:
        return x509.IPAddress(ip_address(name))
    except ValueError:
        labels = name.split(".")
    if len(name) > 253 or labels[-1].isdigit() or not all(_LABEL.fullmatch(label) for label in labels):
        raise UserError(
            f"server name '{name}': write a DNS name such as fl.example.org, or an IP address, without a port"
        )
    return x509.DNSName(name.lower())


def read_certificate(place: Path) -> x509.Certificate:
    """Read a certificate (PEM). Raises UserError if it is none, OSError if it cannot be read."""
    try:
        return x509.load_pem_x509_certificate(place.read_bytes())
    except ValueError:
        raise UserError(f"{place} is not a certificate; put the right file back") from None


def read_key(place: Path) -> ec.EllipticCurvePrivateKey:
    """Read a private key (PEM, no password). Raises UserError if it is none, OSError if it cannot be read."""
    try:
        key = load_pem_private_key(place.read_bytes(), None)
    except (ValueError, TypeError):
        key = None
    if not isinstance(key, ec.EllipticCurvePrivateKey):
        raise UserError(f"{place} is not an elliptic-curve key without a password; put the right file back")
    return key


def _signs_handshakes(
    authority: x509.Certificate,
    authority_key: ec.EllipticCurvePrivateKey,
    name: str,
    public: ec.EllipticCurvePublicKey,
    time: datetime,
    length: timedelta,
) -> x509.CertificateBuilder:
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
    issuer = x509.AuthorityKeyIdentifier.from_issuer_public_key(authority_key.public_key())
    usage = x509.KeyUsage(True, False, False, False, False, False, False, False, False)  # signs handshakes, no more
    length = min(length, authority.not_valid_after_utc - time)
    return (
        _builder(subject, authority.subject, public, time, length)
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(usage, critical=True)
        .add_extension(issuer, critical=False)
    )


def _builder(
    subject: x509.Name, issuer: x509.Name, public: ec.EllipticCurvePublicKey, time: datetime, length: timedelta
) -> x509.CertificateBuilder:
    identifier = x509.SubjectKeyIdentifier.from_public_key(public)
    return (
        x509.CertificateBuilder(issuer, subject, public, x509.random_serial_number())
        .not_valid_before(time - SKEW)
        .not_valid_after(time + length)
        .add_extension(identifier, critical=False)
    )
