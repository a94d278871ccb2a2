"""Addresses of stores: what is accepted, what is loopback, and that no text shows a password."""

from __future__ import annotations

import pickle

import pytest

from metagenrl.objective_server.store.address import PASSWORD_VARIABLE, StoreAddress

parse = StoreAddress.parse


def test_file_is_the_default() -> None:
    assert parse("file", {PASSWORD_VARIABLE: "x"}) == StoreAddress()
    assert not StoreAddress().is_redis


@pytest.mark.parametrize(
    ("text", "url", "password"),
    [
        ("redis://h", "redis://h", None),
        ("redis://:s3cret@h:7000/2", "redis://h:7000/2", "s3cret"),
        ("rediss://ann:p%40ss@h/0?ssl_ca_certs=/ca", "rediss://ann@h/0?ssl_ca_certs=/ca", "p@ss"),
        ("redis://[::1]:7000", "redis://[::1]:7000", None),
    ],
)
def test_the_password_is_taken_out(text: str, url: str, password: str | None) -> None:
    address = parse(text, {})
    assert (address.url, address.password, str(address)) == (url, password, url)
    assert address.is_redis
    assert pickle.loads(pickle.dumps(address)) == address


def test_the_environment_has_the_password_where_the_url_has_none() -> None:
    environment = {PASSWORD_VARIABLE: "hidden"}
    assert parse("redis://h", environment).password == "hidden"
    assert parse("redis://:own@h", environment).password == "own"
    assert parse("redis://h", {PASSWORD_VARIABLE: ""}).password is None


def test_no_form_shows_the_password() -> None:
    address = parse("redis://ann:s3cret@h", {})
    assert "s3cret" not in f"{address} {address!r} {address.endpoint} {[address]}"


@pytest.mark.parametrize(
    "text",
    [
        "",
        "files",
        "http://:s3cret@h",
        "redis://",
        "redis://:s3cret@h:port",
        "redis://:s3cret@h/one",
        "redis://:s3cret@h:0",
        "redis://:s3cret@[h",
        "redis://:s3@cret@/0",
        "rediss://h?password=s3cret",
        "redis://h?ssl_ca_certs=/ca",
        "redis://:s3cret@h#x",
    ],
)
def test_anything_else_is_refused_without_its_password(text: str) -> None:
    with pytest.raises(ValueError, match=r"^store: got .*, allowed: file, redis://") as caught:
        parse(text, {})
    assert "s3cret" not in str(caught.value)
    assert "cret" not in str(caught.value)


@pytest.mark.parametrize(
    ("host", "loopback"),
    [
        ("localhost", True),
        ("127.0.0.1", True),
        ("127.9.9.9", True),
        ("[::1]", True),
        ("10.0.0.1", False),
        ("0.0.0.0", False),
        ("localhost.example.org", False),
        ("[::ffff:10.0.0.1]", False),
    ],
)
def test_loopback(host: str, loopback: bool) -> None:
    assert parse(f"redis://{host}:6379", {}).is_loopback is loopback
