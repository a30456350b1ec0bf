"""JIDs and addresses, one to one (properties of section 2 of the mapping)."""

from __future__ import annotations

from contextlib import suppress
from time import process_time

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from imxrouter.gateways.xmpp.translate.jid import (
    BadJid,
    Jid,
    enforced_local,
    escape,
    parse_jid,
    plain_parts,
    to_jid,
    to_model,
    unescape,
)
from imxrouter.model.address import Address, BadAddress, check_local
from imxrouter.model.domain import Domain

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
