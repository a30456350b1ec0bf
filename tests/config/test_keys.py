"""Keys as text, sockets as text, and suggestions."""

from __future__ import annotations

import base64
from pathlib import Path

import pytest

from imxrouter.config.keys import BadKey, parse_ed25519, parse_key_file, read_ed25519, read_key_file
from imxrouter.config.net import BadEndpoint, HostPort, parse_endpoint
from imxrouter.config.suggest import advice, nearest

RAW = bytes(range(32))


def test_ed25519_is_hex_or_base64(tmp_path: Path) -> None:
    """Both forms give the same 32 bytes; spaces and line ends do not matter."""
    assert parse_ed25519(RAW.hex()) == parse_ed25519(base64.b64encode(RAW).decode() + "\n") == RAW
    (tmp_path / "k").write_text(RAW.hex() + "\n")
    assert read_ed25519(tmp_path / "k") == RAW


@pytest.mark.parametrize("text", ["", "00", "zz" * 32, base64.b64encode(RAW[:31]).decode(), "é" * 64])
def test_other_texts_are_no_keys(text: str) -> None:
    """Anything else raises BadKey and does not quote the text."""
    with pytest.raises(BadKey) as caught:
        parse_ed25519(text)
    assert not text or text not in str(caught.value)


def test_key_file_keeps_order_and_hides_secrets(tmp_path: Path) -> None:
    """The first key signs; a secret is not in repr."""
    (tmp_path / "keys").write_text(f"# ours\nk2 {'11' * 32} # new\n\nk1 {'22' * 16}\n")
    keys = read_key_file(tmp_path / "keys")
    assert [key.key_id for key in keys] == ["k2", "k1"]
    assert keys[0].secret == b"\x11" * 32
    assert "1111" not in repr(keys)


@pytest.mark.parametrize(
    "text", ["", "k1", "k1 0011", "K1 " + "00" * 16, f"k {'00' * 16}\nk {'00' * 16}", "k zz"]
)
def test_bad_key_files_are_refused(text: str) -> None:
    """No key, a short one, a bad id, the same id twice."""
    with pytest.raises(BadKey):
        parse_key_file(text)


def test_endpoints() -> None:
    """IPv4 bare, IPv6 in brackets; names are not taken."""
    assert parse_endpoint("192.0.2.1:6490") == HostPort("192.0.2.1", 6490)
    assert str(parse_endpoint("[2001:DB8::1]:1")) == "[2001:db8::1]:1"
    for text in ("192.0.2.1", "::1:5", "host.example:5", "192.0.2.1:65536", "192.0.2.1:-1", ":5", "[::1]:"):
        with pytest.raises(BadEndpoint):
            parse_endpoint(text)


def test_suggestions() -> None:
    """A near word is suggested; a far one gets the list."""
    assert nearest("ping", {"ping_s", "dead_s"}) == "ping_s"
    assert nearest("zzz", {"ping_s"}) is None
    assert "ping_s" in advice("zzz", {"ping_s"})
