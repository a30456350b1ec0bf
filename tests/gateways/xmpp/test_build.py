"""What is written for a stanza is read as what was meant."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from imxrouter.formats import xmltree
from imxrouter.gateways.xmpp.build import (
    Unsayable,
    Xml,
    element,
    form_of,
    is_sayable,
    stanza,
    without_unsayable,
)

TEXT = st.text(st.characters(codec="utf-8"), max_size=30).filter(is_sayable)


def read(raw: bytes, around: str = "") -> xmltree.Element:
    """A stanza as a tree, inside a stream's tag with these declarations."""
    return xmltree.parse(f"<w xmlns='jabber:server'{around}>".encode() + raw + b"</w>").children[0]


@given(TEXT, TEXT, TEXT)
def test_texts_and_values_come_back(body: str, ident: str, value: str) -> None:
    """Quotes, angle brackets, line ends: whatever XML can carry."""
    made = stanza(
        "message", element("body", body), element("x", namespace=value or "urn:x", attributes={"a": value})
        if xmltree_takes(value) else Xml(""), to="b@b.example", from_="a@a.example", ident=ident,
    )  # fmt: skip
    tree = read(made)
    assert (tree.namespace, tree.name) == ("jabber:server", "message")
    assert tree.attributes.get("id", "") == ident
    assert tree.children[0].text == body
    if len(tree.children) > 1:
        assert tree.children[1].attributes["a"] == value


def xmltree_takes(namespace: str) -> bool:
    """Whether it is a namespace that documents may have."""
    return bool(namespace) and namespace.isascii() and namespace.isalpha()


@pytest.mark.parametrize("bad", ["\0", "\x0b", "\ud800", "\uffff"])
def test_what_xml_has_not_is_refused(bad: str) -> None:
    """Never replaced: a body is not changed silently."""
    for make in (
        lambda: element("body", f"a{bad}"),
        lambda: element("x", attributes={"a": bad}),
        lambda: stanza("iq", to=f"b{bad}@b.example", from_="a"),
    ):
        with pytest.raises(Unsayable):
            make()
    assert without_unsayable(f"a{bad}b") == "ab"


def test_a_name_is_no_way_to_write_markup() -> None:
    """Attributes are named by the code alone, and still."""
    with pytest.raises(Unsayable):
        element("x", attributes={"a='1' b": "2"})


def test_an_empty_attribute_of_a_stanza_is_left_out() -> None:
    """And the order is always the same."""
    made = stanza("presence", to="b.example", from_="a.example", type_="subscribed", language="en")
    assert made == b'<presence to="b.example" from="a.example" type="subscribed" xml:lang="en"/>'


@pytest.mark.parametrize(
    ("around", "raw", "form"),
    [
        ("", b"<iq a='1'><q xmlns='urn:q'/></iq>", b"<iq a='1'><q xmlns='urn:q'/></iq>"),
        (" xmlns:p='urn:p'", b"<iq><p:q/></iq>", b'<iq xmlns:p="urn:p"><p:q/></iq>'),
        (" xmlns:p='urn:p'", b"<iq/>", b"<iq/>"),
        (" xmlns:p='urn:p'", b"<iq xmlns:p='urn:o'><p:q/></iq>", b"<iq xmlns:p='urn:o'><p:q/></iq>"),
        (" xml:lang='de'", b"<message><body>x</body></message>",
         b'<message xml:lang="de"><body>x</body></message>'),
        (" xml:lang='de'", b"<message xml:lang='en'/>", b"<message xml:lang='en'/>"),
    ],
)  # fmt: skip
def test_a_form_means_the_same_outside_of_its_stream(around: str, raw: bytes, form: bytes) -> None:
    """Nothing is written on it but what it took from there."""
    assert form_of(read(raw, around)) == form
