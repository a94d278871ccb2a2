"""Connections to a real Redis: back-off, password, TLS."""

from __future__ import annotations

import datetime
import ipaddress
import itertools
import socket
import ssl
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from metagenrl.objective_server.store.address import StoreAddress
from metagenrl.objective_server.store.redis_link import RedisLink, StoreUnavailable


class Clock:
    """Time that passes when told."""

    now = 0.0

    def __call__(self) -> float:
        return self.now


def link_to(url: str, clock: Clock | None = None) -> RedisLink:
    return RedisLink(StoreAddress.parse(url, {}), "kept locally", clock or Clock())


def _attempt(link: RedisLink) -> bool:
    """Whether a call reached for the server; it is down, so that all of them fail."""
    tried = []
    with pytest.raises(StoreUnavailable):
        link.call(lambda client: (tried.append(1), client.ping()))
    return bool(tried)


def test_attempts_are_spaced_while_redis_is_down(redis_server, caplog) -> None:
    clock = Clock()
    link = link_to(redis_server.url, clock)
    assert link.call(lambda client: client.ping())
    redis_server.kill()
    attempts = []
    for _ in range(3000):  # five minutes
        if _attempt(link):
            attempts.append(clock.now)
        clock.now += 0.1
    gaps = [after - before for before, after in itertools.pairwise(attempts)]
    assert gaps[0] <= 0.6  # half a second at first
    assert all(0.2 <= gap <= 30.1 for gap in gaps)
    assert max(gaps) > 10
    assert all(later > 0.9 * earlier for earlier, later in itertools.pairwise(gaps[:6]))
    redis_server.start()
    clock.now += 31
    assert link.call(lambda client: client.ping())
    warnings = [record.getMessage() for record in caplog.records]
    assert len(warnings) == 2  # one when it went, one when it came back
    assert warnings[0].startswith(f"redis 127.0.0.1:{redis_server.port}: ")
    assert warnings[0].endswith("; kept locally")
    assert warnings[1].endswith(": back after 331 s")


def test_a_restart_between_two_calls_is_not_noticed(redis_server, caplog) -> None:
    link = link_to(redis_server.url)
    link.call(lambda client: client.set("k", 1))
    redis_server.kill()
    redis_server.start()
    assert link.call(lambda client: client.get("k")) == b"1"  # from the append-only file
    assert caplog.records == []


def test_password(redis_server_with_password, caplog) -> None:
    server = redis_server_with_password("s3cret")
    assert link_to(server.url).call(lambda client: client.ping())
    for url in (server.url.replace("s3cret", "wr0ng"), server.url.replace(":s3cret@", "")):
        with pytest.raises(StoreUnavailable, match=r"(?i)password|authentication") as caught:
            link_to(url).call(lambda client: client.ping())
        assert "wr0ng" not in str(caught.value)
    assert "wr0ng" not in caplog.text


def _certificate(folder: Path) -> tuple[Path, Path]:
    """A key and a certificate for 127.0.0.1 that it signed itself."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "redis")])
    now = datetime.datetime.now(datetime.UTC)
    host = x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address("127.0.0.1"))])
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(1)
        .not_valid_before(now - datetime.timedelta(days=1))
        .not_valid_after(now + datetime.timedelta(days=1))
        .add_extension(host, critical=False)
        .sign(key, hashes.SHA256())
    )
    pem = serialization.Encoding.PEM
    private = key.private_bytes(
        pem, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    (folder / "key.pem").write_bytes(private)
    (folder / "certificate.pem").write_bytes(certificate.public_bytes(pem))
    return folder / "key.pem", folder / "certificate.pem"


def _pump(source: socket.socket, sink: socket.socket) -> None:
    try:
        while data := source.recv(65536):
            sink.sendall(data)
    except OSError:
        pass
    finally:
        sink.close()


@pytest.fixture
def tls_port(redis_server, tmp_path) -> Iterator[int]:
    """TLS in front of the Redis, whose build here may come without it."""
    key, certificate = _certificate(tmp_path)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate, key)
    listener = socket.create_server(("127.0.0.1", 0))

    def serve() -> None:
        while True:
            try:
                plain, _ = listener.accept()
            except OSError:
                return
            try:
                secure = context.wrap_socket(plain, server_side=True)
            except OSError:  # a client that refused the certificate
                continue
            redis = socket.create_connection(("127.0.0.1", redis_server.port))
            for ends in ((secure, redis), (redis, secure)):
                threading.Thread(target=_pump, args=ends, daemon=True).start()

    threading.Thread(target=serve, daemon=True).start()
    yield listener.getsockname()[1]
    listener.close()


def test_tls(tls_port, tmp_path) -> None:
    url = f"rediss://127.0.0.1:{tls_port}/0"
    trusting = link_to(f"{url}?ssl_ca_certs={tmp_path / 'certificate.pem'}")
    trusting.call(lambda client: client.set("k", "v"))
    assert trusting.call(lambda client: client.get("k")) == b"v"
    with pytest.raises(StoreUnavailable, match=r"(?i)certificate"):
        link_to(url).call(lambda client: client.ping())
    with pytest.raises(StoreUnavailable):  # plain text at a port that wants TLS
        link_to(url.replace("rediss", "redis")).call(lambda client: client.ping())
