"""Certificates of the network port, with real handshakes of TLS over a socket pair."""

from __future__ import annotations

import socket
import ssl
import threading
from contextlib import suppress
from pathlib import Path

import pytest

from mythjobs.clock import master_now
from mythjobs.config import certificates, tls_client
from mythjobs.config.state import StateDir
from mythjobs.errors import ConfigError

DAY_MS = 86_400_000
NOW_MS = master_now().wall_ms


def _shake_hands(server: ssl.SSLContext, client: ssl.SSLContext) -> bytes | None:
    """Return the certificate that a client sees (DER), after a complete handshake."""
    near, far = socket.socketpair()
    for each in (near, far):
        each.settimeout(10)

    def serve() -> None:
        with suppress(OSError), server.wrap_socket(far, server_side=True) as channel:
            channel.recv(1)

    thread = threading.Thread(target=serve)
    thread.start()
    try:
        with client.wrap_socket(near) as channel:
            assert channel.version() == "TLSv1.3"
            return channel.getpeercert(binary_form=True)
    finally:
        near.close()
        thread.join()
        far.close()


def _make_state(root: Path) -> StateDir:
    root.mkdir(exist_ok=True)
    return StateDir(root)


def test_an_agent_accepts_the_master_of_its_authority(tmp_path: Path) -> None:
    identity = certificates.load_server_identity(StateDir(tmp_path), NOW_MS)
    client = tls_client.make_client_context(identity.authority)
    client.verify_flags |= ssl.VERIFY_X509_STRICT  # the default from Python 3.13 on
    seen = _shake_hands(identity.context, client)
    assert seen is not None
    assert tls_client.compute_fingerprint(seen) == identity.fingerprint


def test_an_agent_refuses_a_master_of_another_authority(tmp_path: Path) -> None:
    ours = certificates.load_server_identity(_make_state(tmp_path / "a"), NOW_MS)
    other = certificates.load_server_identity(_make_state(tmp_path / "b"), NOW_MS)
    with pytest.raises(ssl.SSLCertVerificationError):
        _shake_hands(other.context, tls_client.make_client_context(ours.authority))
    assert _shake_hands(other.context, tls_client.make_unverified_context())


@pytest.mark.parametrize(
    "created_ms",
    [0, NOW_MS - 4000 * DAY_MS, NOW_MS + 9000 * DAY_MS],
    ids=["1970", "expired authority", "years ahead"],
)
def test_a_wrong_clock_parts_no_agent_from_its_master(tmp_path: Path, created_ms: int) -> None:
    """Seen: after a first `lan on` with a clock of 1970, no machine could join any more."""
    state = StateDir(tmp_path)
    then = certificates.load_server_identity(state, created_ms)
    client = tls_client.make_client_context(then.authority)
    assert _shake_hands(then.context, client)
    now = certificates.load_server_identity(state, NOW_MS)
    assert now.authority == then.authority
    assert _shake_hands(now.context, client)


def test_a_peer_that_offers_only_an_older_tls_is_refused(tmp_path: Path) -> None:
    identity = certificates.load_server_identity(StateDir(tmp_path), NOW_MS)
    old = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    old.check_hostname, old.verify_mode = False, ssl.CERT_NONE
    old.maximum_version = ssl.TLSVersion.TLSv1_2
    with pytest.raises(ssl.SSLError):
        _shake_hands(identity.context, old)


def test_certificates_are_created_once_with_private_keys(tmp_path: Path) -> None:
    state = StateDir(tmp_path)
    first = certificates.load_server_identity(state, NOW_MS)
    again = certificates.load_server_identity(state, NOW_MS)
    assert (first.fingerprint, first.authority) == (again.fingerprint, again.authority)
    for path in (state.authority_key, state.server_key):
        assert path.stat().st_mode & 0o777 == 0o600
    assert state.server_key.parent.stat().st_mode & 0o777 == 0o700


def test_the_server_certificate_is_renewed_in_its_last_two_months(tmp_path: Path) -> None:
    state = StateDir(tmp_path)
    first = certificates.load_server_identity(state, NOW_MS)
    kept = certificates.load_server_identity(state, NOW_MS + 300 * DAY_MS)
    renewed = certificates.load_server_identity(state, NOW_MS + 310 * DAY_MS)
    assert kept.fingerprint == first.fingerprint
    assert renewed.fingerprint != first.fingerprint
    assert renewed.authority == first.authority
    assert _shake_hands(renewed.context, tls_client.make_client_context(first.authority))


def test_a_certificate_of_a_removed_authority_is_replaced(tmp_path: Path) -> None:
    state = StateDir(tmp_path)
    first = certificates.load_server_identity(state, NOW_MS)
    state.authority_key.unlink()
    state.authority_certificate.unlink()
    second = certificates.load_server_identity(state, NOW_MS)
    assert second.authority != first.authority
    assert _shake_hands(second.context, tls_client.make_client_context(second.authority))


@pytest.mark.parametrize(
    "name", ["authority_key", "authority_certificate", "server_key", "server_certificate"]
)
@pytest.mark.parametrize("content", [b"", b"\xff\xfe", b"-----BEGIN CERTIFICATE-----\nAAAA"])
def test_a_damaged_file_is_named(tmp_path: Path, name: str, content: bytes) -> None:
    state = StateDir(tmp_path)
    certificates.load_server_identity(state, NOW_MS)
    path: Path = getattr(state, name)
    path.write_bytes(content)
    with pytest.raises(ConfigError, match=path.name):
        certificates.load_server_identity(state, NOW_MS)


def test_a_certificate_of_another_key_is_refused(tmp_path: Path) -> None:
    state, other = _make_state(tmp_path / "a"), _make_state(tmp_path / "b")
    for each in (state, other):
        certificates.load_server_identity(each, NOW_MS)
    state.authority_certificate.write_bytes(other.authority_certificate.read_bytes())
    with pytest.raises(ConfigError, match="belongs to another key"):
        certificates.load_server_identity(state, NOW_MS)


def test_text_that_is_no_certificate_is_refused() -> None:
    with pytest.raises(ConfigError, match="no valid certificate"):
        certificates.decode_certificate(b"<html>")
    with pytest.raises(ConfigError, match="damaged"):
        tls_client.make_client_context(b"\xff")
