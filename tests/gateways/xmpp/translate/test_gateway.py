"""Gateway addresses, one to one (properties of section 2.2 of the mapping)."""

from __future__ import annotations

import unicodedata
from contextlib import suppress
from encodings.idna import nameprep

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from imxrouter.gateways.xmpp.translate.gateway import (
    Misspelled,
    address_behind,
    address_typed,
    gateway_jid,
)
from imxrouter.gateways.xmpp.translate.jid import BadJid, Jid, parse_jid, to_jid, to_model
from imxrouter.model.address import Address
from imxrouter.model.domain import BadDomain, Domain
from tests.gateways.xmpp.translate.test_jid import LOCALS

GW = Domain("gw.a.example")
#: Labels that servers of old and of new read alike, that they do not, and of both directions.
LABELS = st.one_of(
    st.sampled_from(["far", "a-b", "münchen", "fußball", "σίγμας", "שלום", "日本", "xn--mnchen-3ya", "ı"]),
    st.text(min_size=1, max_size=4),
)
ENDS = st.sampled_from(["", "\\20", "\\27", "\\40", "\\5c", "\\5c20", "\\5c40", "@", " ", "/", "'"])


def addresses(local: str, label: str) -> Address:
    """As the model has it. Raises `BadJid` or `BadDomain` where it has none."""
    address = Address("", Domain.parse(f"{label}.example"))
    if local:
        address = to_model(Jid(parse_jid(f"{local}@x.example").local, address.domain.display))[0]
    return address


@given(LOCALS, LABELS)
@example("\\20a", "far")
@example("a\\20b", "far")
@example("a\\20", "far")
@example("a\\5c20b", "far")
@example("a\\40b", "far")
@example("", "far")
def test_each_address_has_a_gateway_address_of_its_own(local: str, label: str) -> None:
    """Back it is the same, so nobody is taken for somebody else; on the wire it is a JID."""
    with suppress(BadJid, BadDomain):
        address = addresses(local, label)
        jid = gateway_jid(address, GW)
        assert parse_jid(str(jid)) == jid
        assert address_behind(jid) == address


def spelled(jid: Jid) -> Jid:
    """The one spelling of a gateway address. Raises `BadJid` where it is none in any."""
    try:
        address_behind(jid)
    except Misspelled as error:
        right = parse_jid(error.right)
    else:
        return jid
    assert right != jid
    return right


@given(LOCALS, ENDS, LABELS, ENDS)
@example("bob", "\\40", "far", "")
@example("bob\\20", "\\40", "far", "")
@example("\\20bob", "\\40", "far", "")
@example("bob\\5c", "40", "far", "")
@example("bob\\5c20x", "\\40", "far", "")
@example("bob", "\\40", "far", "\\2fx")
@example("bob", "\\40", "far", "\\40x.example")
@example("bob", "\\40", "xn--mnchen-3ya", "")
def test_each_gateway_address_has_one_spelling(local: str, at: str, label: str, end: str) -> None:
    """What is taken is what would be written; for any other spelling of an address that one is named."""
    with suppress(BadJid):
        jid = parse_jid(f"{local}{at}{label}.example{end}@gw.a.example")
        right = spelled(jid)
        assert gateway_jid(address_behind(right), GW) == right


@given(LABELS)
@example("fußball")
@example("σίγμας")
def test_domain_stays_what_it_is_at_servers_of_old(label: str) -> None:
    """Nodeprep (RFC 3920) is nameprep and more that is forbidden: it changes no domain in a local part."""
    with suppress(BadJid, BadDomain):
        local = gateway_jid(Address("", Domain.parse(f"{label}.example")), GW).local
        assert nameprep(local) == local
        assert unicodedata.normalize("NFKC", local) == local


@pytest.mark.parametrize("bob", ["bob", "o'malley", "foo\\20bar", "π", "t\\40x.example", "\\27x", "a\\b"])
def test_resources_stay(bob: str) -> None:
    """They are those of the address, spelled as they are."""
    address = Address(bob, Domain("far.example"))
    jid = gateway_jid(address, GW, "My phone/1@home")
    assert jid.resource == "My phone/1@home"
    assert address_behind(jid) == address


def test_longest_addresses_have_one() -> None:
    """All of 255 bytes escaped, and the longest domain."""
    name = ".".join(["a" * 61] * 4) + ".bcdef"
    assert len(name) == 253
    jid = gateway_jid(Address("'" * 255, Domain.parse(name)), GW)
    assert len(jid.local) == 765 + 3 + 253
    assert address_behind(jid).local == "'" * 255


def test_user_whose_name_is_written_from_the_right() -> None:
    """A local part has one direction (RFC 5893 section 2), so there is no JID for him."""
    with pytest.raises(BadJid):
        gateway_jid(Address("שלום", Domain("far.example")), GW)


@pytest.mark.parametrize(
    ("typed", "local"),
    [
        ("bob@far.example", "bob\\40far.example"),
        (" Bob@FAR.example ", "bob\\40far.example"),
        ("o'malley@far.example", "o\\27malley\\40far.example"),
        ("o\\27malley@far.example", "o\\27malley\\40far.example"),
        ("foo bar@far.example", "foo\\20bar\\40far.example"),
        ("bob@xn--mnchen-3ya.example", "bob\\40münchen.example"),
        ("far.example", "\\40far.example"),
    ],
)
def test_what_people_type(typed: str, local: str) -> None:
    """A JID, or what they read in its place; both give the one gateway address."""
    assert gateway_jid(address_typed(typed), GW).local == local


@pytest.mark.parametrize(
    "typed",
    ["", "bob", "a@b@far.example", "@far.example", "bob@", "bob@192.0.2.1", " @far.example", "♚@a.example"],
)
def test_what_is_no_address(typed: str) -> None:
    """It is refused as a JID would be."""
    with pytest.raises(BadJid):
        address_typed(typed)


@given(LOCALS)
def test_what_people_read_they_may_type(local: str) -> None:
    """An address of the model, typed as it is shown, is that address or none."""
    with suppress(BadJid, BadDomain):
        address = addresses(local, "far")
        if "\\" not in address.local:
            assert address_typed(str(address)) == address
        assert address_typed(str(to_jid(address))) == address
