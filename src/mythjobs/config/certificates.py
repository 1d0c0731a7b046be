"""Certificates of the master's network port: an authority of its own, and the server certificate.

docs/decisions/0006-network-and-joining.md says what they prove, and to whom.
"""

from __future__ import annotations

import datetime
import socket
import ssl
from pathlib import Path
from typing import Final, NamedTuple

from cryptography import x509
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from mythjobs.config import files
from mythjobs.config.state import StateDir
from mythjobs.config.tls_client import compute_fingerprint
from mythjobs.errors import ConfigError

_AUTHORITY_DAYS: Final = 3650
_SERVER_DAYS: Final = 365
RENEW_BEFORE_DAYS: Final = 60
# Certificates are valid from this day: a machine without a clock starts in 1970 or in the year of
# its firmware, and would refuse a certificate of today until its time is set.
_VALID_FROM: Final = datetime.datetime(1970, 1, 2, tzinfo=datetime.UTC)


class ServerIdentity(NamedTuple):
    """What the network port shows. fingerprint: SHA-256 of the server certificate (DER), in hex.

    authority: certificate of the authority, PEM.
    """

    context: ssl.SSLContext
    fingerprint: str
    authority: bytes


def load_server_identity(state: StateDir, now_ms: int) -> ServerIdentity:
    """Return the identity of the network port; create or renew its certificates where needed.

    Raises ConfigError if a file is damaged, OSError if it cannot be written.
    """
    authority_key, authority = _load_or_create_authority(state, now_ms)
    server = _read_certificate(state.server_certificate)
    if server is None or not _is_usable(server, authority, now_ms):
        server = _issue_server_certificate(state, authority_key, authority, now_ms)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_3
    context.num_tickets = 0  # agents keep one connection; nobody resumes a session
    try:
        context.load_cert_chain(state.server_certificate, state.server_key)
    except (OSError, ssl.SSLError) as error:
        raise _damaged(state.server_key, f"{error}") from None
    fingerprint = compute_fingerprint(_to_der(server))
    return ServerIdentity(context, fingerprint, authority.public_bytes(_PEM))


def decode_certificate(pem: bytes) -> bytes:
    """Return a certificate in DER. Raises ConfigError if the text is not one certificate."""
    try:
        return _to_der(x509.load_pem_x509_certificate(pem))
    except ValueError:
        raise ConfigError("the master sent no valid certificate of its authority") from None


def _load_or_create_authority(
    state: StateDir, now_ms: int
) -> tuple[ec.EllipticCurvePrivateKey, x509.Certificate]:
    key = _load_or_create_key(state.authority_key)
    certificate = _read_certificate(state.authority_certificate)
    if certificate is None:
        certificate = _build_authority(key, now_ms)
        files.create_once(state.authority_certificate, certificate.public_bytes(_PEM), 0o644)
    if certificate.public_key() != key.public_key():
        raise _damaged(state.authority_certificate, "it belongs to another key")
    return key, certificate


def _issue_server_certificate(
    state: StateDir,
    authority_key: ec.EllipticCurvePrivateKey,
    authority: x509.Certificate,
    now_ms: int,
) -> x509.Certificate:
    key = _load_or_create_key(state.server_key)
    host = socket.gethostname()[:64] or "localhost"
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, host)])
    names = [x509.DNSName(each) for each in {"localhost", host} if each.isascii()]
    certificate = (
        _start_builder(name, authority.subject, key, now_ms, _SERVER_DAYS)
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH]), critical=False)
        .add_extension(x509.SubjectAlternativeName(names), critical=False)
        .add_extension(_identify_authority(authority_key), critical=False)
        .sign(authority_key, hashes.SHA256())
    )
    files.replace_file(state.server_certificate, certificate.public_bytes(_PEM), 0o644)
    return certificate


def _build_authority(key: ec.EllipticCurvePrivateKey, now_ms: int) -> x509.Certificate:
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "mythjobs authority")])
    usage = x509.KeyUsage(
        digital_signature=False, content_commitment=False, key_encipherment=False,
        data_encipherment=False, key_agreement=False, key_cert_sign=True, crl_sign=True,
        encipher_only=False, decipher_only=False,
    )  # fmt: skip
    return (
        _start_builder(name, name, key, now_ms, _AUTHORITY_DAYS)
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .add_extension(usage, critical=True)
        .sign(key, hashes.SHA256())
    )


def _start_builder(
    subject: x509.Name,
    issuer: x509.Name,
    key: ec.EllipticCurvePrivateKey,
    now_ms: int,
    days: int,
) -> x509.CertificateBuilder:
    end = _to_datetime(now_ms) + datetime.timedelta(days=days)
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(_VALID_FROM)
        .not_valid_after(end)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
    )


def _identify_authority(key: ec.EllipticCurvePrivateKey) -> x509.AuthorityKeyIdentifier:
    return x509.AuthorityKeyIdentifier.from_issuer_public_key(key.public_key())


def _is_usable(server: x509.Certificate, authority: x509.Certificate, now_ms: int) -> bool:
    """Return whether a server certificate is signed by the authority and valid for long enough."""
    try:
        server.verify_directly_issued_by(authority)
    except (ValueError, TypeError, InvalidSignature):
        return False
    left = server.not_valid_after_utc - _to_datetime(now_ms)
    return left > datetime.timedelta(days=RENEW_BEFORE_DAYS)


def _load_or_create_key(path: Path) -> ec.EllipticCurvePrivateKey:
    try:
        data = path.read_bytes()
    except FileNotFoundError:
        path.parent.mkdir(mode=0o700, exist_ok=True)
        key = ec.generate_private_key(ec.SECP256R1())
        format = serialization.PrivateFormat.PKCS8
        data = files.create_once(
            path, key.private_bytes(_PEM, format, serialization.NoEncryption())
        )
    try:
        found = serialization.load_pem_private_key(data, password=None)
    except ValueError:
        found = None
    if not isinstance(found, ec.EllipticCurvePrivateKey):
        raise _damaged(path, "it is not an ECDSA key")
    return found


def _read_certificate(path: Path) -> x509.Certificate | None:
    try:
        return x509.load_pem_x509_certificate(path.read_bytes())
    except FileNotFoundError:
        return None
    except ValueError:
        raise _damaged(path, "it is not a certificate") from None


def _damaged(path: Path, why: str) -> ConfigError:
    return ConfigError(
        f"cannot use {path}: {why}; restore the directory {path.parent.name} from a backup, or "
        "remove it to create new certificates (every machine must then join again)"
    )


def _to_datetime(now_ms: int) -> datetime.datetime:
    return datetime.datetime.fromtimestamp(now_ms / 1000, datetime.UTC)


def _to_der(certificate: x509.Certificate) -> bytes:
    return certificate.public_bytes(serialization.Encoding.DER)


_PEM: Final = serialization.Encoding.PEM
