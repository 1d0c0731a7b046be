"""TLS settings of a machine that connects to a master, and fingerprints of certificates.

Apart from certificates.py, because an agent needs nothing of the library that issues certificates,
which takes 2 MB.
"""

from __future__ import annotations

import hashlib
import ssl
from typing import Final

from mythjobs.errors import ConfigError

# X509_V_FLAG_NO_CHECK_TIME of OpenSSL, for which `ssl` has no name.
_NO_CHECK_TIME: Final = 0x200000


def make_client_context(authority: bytes) -> ssl.SSLContext:
    """Return the TLS settings of an agent. It accepts any master certificate of this authority.

    authority: certificate, PEM. Host names are not compared, because addresses change; the
    authority signs for one master only. Dates are not compared either: one wrong clock, or the end
    of the authority after ten years, would part all machines from a master that they know by its
    key. Raises ConfigError if it is not a certificate.
    """
    context = _make_context()
    try:
        context.load_verify_locations(cadata=authority.decode("ascii"))
    except (ssl.SSLError, ValueError) as error:
        raise ConfigError(
            f"the certificate of the master's authority is damaged: {error}"
        ) from None
    context.verify_mode = ssl.CERT_REQUIRED
    context.verify_flags |= _NO_CHECK_TIME
    return context


def make_unverified_context() -> ssl.SSLContext:
    """Return TLS settings that accept every certificate. Use them only to fetch the authority's own
    certificate, which is then compared with its hash in the join token, or with six words."""
    context = _make_context()
    context.verify_mode = ssl.CERT_NONE
    return context


def compute_fingerprint(certificate: bytes) -> str:
    """Return the SHA-256 of a certificate (DER), in hex: `tls-server-end-point` of RFC 5929."""
    return hashlib.sha256(certificate).hexdigest()


def _make_context() -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.minimum_version = ssl.TLSVersion.TLSv1_3
    context.check_hostname = False
    return context
