"""Section 2 of the mapping: addresses."""

from __future__ import annotations

import pytest

from imxrouter.gateways.xmpp.translate.jid import BadJid, Jid, parse_jid, to_jid, to_model
from imxrouter.model.address import Address
from imxrouter.model.vocabulary import Reason
from tests.gateways.xmpp.checks import rule, section
from tests.gateways.xmpp.mapping import Row


@section("2")
def addresses(row: Row) -> None:
    """JID and address, by the row's direction."""
    (text,) = row.xmpp_spans
    fields = row.fields
    if "refused" in fields:
        assert row.direction == "->"
        assert refusal(text).word == fields["refused"]
        return
    wanted = str(fields["address"])
    if "->" in row.direction:
        address, resource = to_model(parse_jid(text))
        assert str(address) == wanted
        assert resource == fields.get("instance", "")
        back = to_jid(address, resource)
        assert back == parse_jid(text)
        assert (str(back) == text) is (row.kept == "all")
    if row.direction == "<-":
        assert str(to_jid(Address.parse(wanted), str(fields.get("instance", "")))) == text


def refusal(text: str) -> Reason:
    """Why a text is no address."""
    with pytest.raises(BadJid) as refused:
        to_model(parse_jid(text))
    return refused.value.reason


@rule("adr-esc-bijective", "adr-unsayable")
def _one_to_one() -> None:
    """Spellings that XEP-0106 alone would make one; the property is in `translate/test_jid.py`."""
    locals_ = ["a\\b", "a\\5cb", "a\\5c5cb", "a'b", "a\\27b", "a\\5c27b", "a\\5c5c27b", "a\\20b", "a\\5c20b"]
    by_jid: dict[str, str] = {}
    for local in locals_:
        jid = to_jid(Address.parse(f"{local}@a.example"))
        assert str(to_model(jid)[0]) == f"{local}@a.example"
        assert by_jid.setdefault(str(jid), local) == local
    assert len(by_jid) == len(locals_)


@rule("adr-long-local")
def _long_local() -> None:
    """Measured after PRECIS and unescaping."""
    assert refusal("a" * 256 + "@a.example") is Reason.ADDRESS_TOO_LONG
    assert refusal("ä" * 128 + "@a.example") is Reason.ADDRESS_TOO_LONG
    assert to_model(parse_jid("a" * 255 + "@a.example"))[0].local == "a" * 255
    assert to_model(parse_jid("\\27" * 255 + "@a.example"))[0].local == "'" * 255
    assert refusal("\\27" * 256 + "@a.example") is Reason.ADDRESS_TOO_LONG
    assert parse_jid("a" * 1023 + "@a.example").local == "a" * 1023
    with pytest.raises(BadJid):
        parse_jid("a" * 1024 + "@a.example")


@rule("adr-long-domain")
def _long_domain() -> None:
    """253 bytes are the limit of a name in DNS."""
    name = ".".join(["a" * 62] * 4)
    assert len(name) == 251
    assert str(to_model(parse_jid(name + ".b"))[0]) == name + ".b"
    assert refusal(name + ".bbb") is Reason.ADDRESS_TOO_LONG


@rule("adr-long-resource")
def _long_resource() -> None:
    """1,023 bytes of UTF-8."""
    assert parse_jid("a.example/" + "r" * 1023).resource == "r" * 1023
    assert refusal("a.example/" + "r" * 1024) is Reason.BAD_ADDRESS
    assert refusal("a.example/" + "ä" * 512) is Reason.BAD_ADDRESS


@rule("adr-long-escaped")
def _long_escaped() -> None:
    """Three characters for each of 255 are 765 bytes."""
    address = Address("'" * 255, Address.parse("a.example").domain)
    assert to_model(to_jid(address)) == (address, "")


@rule("adr-fold")
def _two_with_one_key() -> None:
    """ß is not ss for XMPP, and both are one for rules."""
    one, other = (to_model(parse_jid(f"{local}@a.example"))[0] for local in ("fußball", "fussball"))
    assert one != other
    assert one.key == other.key
    assert to_jid(one) != to_jid(other)


@rule("adr-uri")
def _uris_are_not_made_here() -> None:
    """A percent sign is an ordinary character of a local part."""
    assert to_model(Jid("a%27b", "a.example"))[0].local == "a%27b"
    assert to_model(parse_jid("a%27b@a.example"))[0].local == "a%27b"
