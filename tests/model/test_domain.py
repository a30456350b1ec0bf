"""Domain names in wire form."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from imxrouter.model.domain import MAX_DOMAIN_BYTES, BadDomain, Domain, is_wire_domain

GOOD = {
    "a.example": "a.example",
    "A.Example.": "a.example",
    " a.example ": "a.example",
    "Bücher.example": "xn--bcher-kva.example",
    "xn--bcher-kva.example": "xn--bcher-kva.example",
    "ｅｘａｍｐｌｅ.com": "example.com",
    "faß.example": "xn--fa-hia.example",
    "例え.テスト": "xn--r8jz45g.xn--zckzah",
    "localhost": "localhost",
}
BAD = [
    "", ".", "a..example", "a.example..", "-a.example", "a-.example", "a_b.example", "a b.example",
    "a@b.example", "a" * 64 + ".example", ".".join(["a" * 60] * 5), "x" * 5000,
    "xn--zzzzzzz999.example", "\u200d.example",
]  # fmt: skip


@pytest.mark.parametrize("text", GOOD)
def test_a_domain_is_normalised(text: str) -> None:
    """Lower-case A-labels, no trailing dot."""
    assert Domain.parse(text).name == GOOD[text]


@pytest.mark.parametrize("text", BAD)
def test_what_is_no_domain_is_refused(text: str) -> None:
    """With our own error."""
    with pytest.raises(BadDomain):
        Domain.parse(text)


@given(st.text(max_size=60) | st.text("abcü.-xn0 ", max_size=30))
def test_any_text_is_a_domain_or_not(text: str) -> None:
    """And what is one is stable, in wire form, and can be shown."""
    try:
        domain = Domain.parse(text)
    except BadDomain:
        return
    assert is_wire_domain(domain.wire)
    assert Domain.parse(domain.name) == domain
    assert Domain.from_wire(domain.wire) == domain
    assert domain.display


@given(st.binary(max_size=300))
def test_only_wire_form_is_taken_from_the_wire(raw: bytes) -> None:
    """Nothing is mapped there."""
    if is_wire_domain(raw):
        assert Domain.from_wire(raw).wire == raw == raw.lower()
        assert len(raw) <= MAX_DOMAIN_BYTES
    else:
        with pytest.raises(BadDomain):
            Domain.from_wire(raw)


def test_wire_form_ends_where_it_ends() -> None:
    """A newline behind a domain is not part of one."""
    assert not is_wire_domain(b"a.example\n")
    assert not is_wire_domain(b"a.example.")
    assert is_wire_domain(b".".join([b"a" * 63] * 3 + [b"b" * 61]))
    assert not is_wire_domain(b".".join([b"a" * 63] * 3 + [b"b" * 62]))


def test_people_see_their_own_script() -> None:
    """And A-labels where these do not decode."""
    assert Domain.parse("Bücher.example").display == "bücher.example"
    assert Domain("xn--a.example").display == "xn--a.example"
    assert Domain("b.a.example").parent == "a.example"
    assert Domain("example").parent == "example"
