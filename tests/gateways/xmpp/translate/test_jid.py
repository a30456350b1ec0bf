"""JIDs and addresses, one to one (properties of section 2 of the mapping)."""

from __future__ import annotations

from contextlib import suppress
from time import process_time

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from imxrouter.gateways.xmpp.translate.jid import (
    MAX_PART_BYTES,
    BadJid,
    Jid,
    address_of,
    enforced_local,
    escape,
    parse_jid,
    plain_parts,
    to_jid,
    to_model,
    unescape,
)
from imxrouter.model.address import MAX_LOCAL_BYTES, Address, BadAddress, check_local
from imxrouter.model.domain import Domain
from imxrouter.model.vocabulary import Reason

A = Domain("a.example")
PIECES = st.sampled_from(
    ["\\", "5c", "20", "27", "2f", "40", "2", "7", "5", "c", "a", "A", "'", "/", "ß", "é", "\\5c", "\\27"]
)
LOCALS = st.one_of(st.lists(PIECES, max_size=9).map("".join), st.text(max_size=12))


@given(LOCALS)
@example("\\5c5c27")
@example("a\\5cb")
@example("a\\5c20b")
@example("a\\5c40b")
def test_each_jid_has_an_address_of_its_own(text: str) -> None:
    """Back it is the same JID, so nobody is taken for somebody else."""
    with suppress(BadJid):
        jid = Jid(enforced_local(text), "a.example")
        assert to_jid(to_model(jid)[0]) == jid


@given(LOCALS)
@example("\\27")
def test_each_lower_case_address_has_a_jid_of_its_own(text: str) -> None:
    """Back it is the same address; another case gives the same JID, as it gives the same key."""
    with suppress(BadJid, BadAddress):
        address = Address(check_local(text), A)
        if not address.local:
            return
        jid = to_jid(address)
        back = to_model(jid)[0]
        assert back.key == address.key
        assert to_jid(back) == jid
        if check_local(address.local.lower()) == address.local:
            assert back == address


@given(st.text(max_size=40))
def test_any_text_is_a_jid_or_none(text: str) -> None:
    """Total; what is read is read again the same."""
    with suppress(BadJid):
        jid = parse_jid(text)
        assert parse_jid(str(jid)) == jid
        address, resource = to_model(jid)
        assert to_jid(address, resource) == jid


PLAIN = st.sampled_from(
    [
        "a",
        "z",
        "0",
        "9",
        ".",
        "-",
        "_",
        "A",
        "@",
        "/",
        "\\",
        "xn--",
        "xn--mller-kva",
        "example",
        "%",
        "ü",
        "\n",
        " ",
    ]
)


@given(
    st.one_of(
        st.lists(PLAIN, max_size=12).map("".join),
        st.tuples(*[st.lists(PLAIN, min_size=1, max_size=5).map("".join)] * 3).map(
            "{0[0]}@{0[1]}/{0[2]}".format
        ),
    )
)
@example("u0@a.example/r")
@example("u@a.example")
@example("u@xn--mller-kva.example/r")
@example("u@1.2.3.4")
@example("u@nodot/r")
@example("u@a..example")
@example(".@-a.example")
@example("u@a.example/")
@example("u@a.example\n")
@example("l" * 255 + "@a.example/" + "r" * 255)
@example("l" * 256 + "@a.example")
@example("u@" + "d" * 64 + ".example")
@example("u@" + ".".join(["d" * 63] * 4))
def test_what_is_plain_is_what_it_would_be_anyway(text: str) -> None:
    """Its parts are those of the long way, and the gateway writes the JID just so."""
    plain = plain_parts(text)
    if plain is not None:
        assert plain == to_model(parse_jid(text))
        assert str(to_jid(*plain)) == text


@pytest.mark.parametrize("text", ["u0@peer.example/r", "a.b-c_1@a.b.example", "0@0.example/Res.1"])
def test_most_people_are_plain(text: str) -> None:
    """So they cost little when they are seen first."""
    assert plain_parts(text) is not None


@given(LOCALS)
def test_unescaping_undoes_escaping(text: str) -> None:
    """XEP-0106 alone is one to one this way round only."""
    assert unescape(escape(text)) == text


def test_time_is_linear() -> None:
    """The deepest nests and the longest texts that are read."""
    began = process_time()
    for text in ("\\5c" * 340, "\\5c" * 80, "\\" + "5c" * 500, "\\27" * 300, "é" * 1000, "x" * 4000):
        for resource in ("", "/" + text):
            with suppress(BadJid):
                to_model(parse_jid(f"{text}@a.example{resource}"))
    assert process_time() - began < 2


@pytest.mark.parametrize(
    "jid",
    [
        "secret<one@a.example", "secret\x00one@a.example", "secret one@a.example", "secret\u2665@a.example",
        "b@a.example/secret\x07one", "b@a.example/secret\u0378one",
    ],
)  # fmt: skip
def test_of_what_is_no_address_nothing_but_the_domain_is_told(jid: str) -> None:
    """The words are a note in logs and traces, which have no local parts and resources by default."""
    with pytest.raises(BadJid) as refused:
        to_model(parse_jid(jid))
    assert "secret" not in str(refused.value)


@pytest.mark.parametrize("char", ["a", "\u00e9", "\u20ac"])
def test_each_part_has_1023_octets_at_most(char: str) -> None:
    """RFC 7622 section 3.1: octets and not characters; the model's local part is shorter still."""
    most = MAX_PART_BYTES // len(char.encode())
    assert parse_jid(f"a@b.example/{char * most}").resource == char * most
    with pytest.raises(BadJid) as refused:
        parse_jid(f"a@b.example/{char * (most + 1)}")
    assert refused.value.reason is Reason.BAD_ADDRESS
    if char == "\u20ac":
        return  # no letter, so in no local part
    assert parse_jid(f"{char * most}@b.example").local == char * most
    with pytest.raises(BadJid) as refused:
        parse_jid(f"{char * (most + 1)}@b.example")
    assert refused.value.reason is Reason.ADDRESS_TOO_LONG
    local = MAX_LOCAL_BYTES // len(char.encode())
    assert address_of(f"{char * local}@b.example")[0].local == char * local
    with pytest.raises(BadJid) as refused:
        address_of(f"{char * (local + 1)}@b.example")
    assert refused.value.reason is Reason.ADDRESS_TOO_LONG


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("a" * (3 * MAX_PART_BYTES + 3), Reason.ADDRESS_TOO_LONG),
        (f"a@{'b.' * 126}example", Reason.ADDRESS_TOO_LONG),
        (f"a@{'b' * 64}.example", Reason.BAD_ADDRESS),
        ("@b.example", Reason.BAD_ADDRESS),
        ("a@b.example/", Reason.BAD_ADDRESS),
        ("b.example/", Reason.BAD_ADDRESS),
        ("a@", Reason.BAD_ADDRESS),
        ("", Reason.BAD_ADDRESS),
        ("a@ b.example", Reason.BAD_ADDRESS),
        ("a@b.example ", Reason.BAD_ADDRESS),
        ("a@b.example\n", Reason.BAD_ADDRESS),
        ("a@example", Reason.BAD_ADDRESS),
        ("a@192.0.2.1", Reason.BAD_ADDRESS),
        ("a@[2001:db8::1]", Reason.BAD_ADDRESS),
        ("a\u200bb@b.example", Reason.BAD_ADDRESS),
        ("a@b.example/a\u0007", Reason.BAD_ADDRESS),
        ("a'b@b.example", Reason.BAD_ADDRESS),
    ],
)
def test_what_is_no_jid_is_refused_by_name(text: str, reason: Reason) -> None:
    """Who is refused learns whether it is too long, or none."""
    with pytest.raises(BadJid) as refused:
        address_of(text)
    assert refused.value.reason is reason
