"""Addresses: what is one, and which of them are the same to rules and limits."""

from __future__ import annotations

from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from imxrouter.model.address import (
    MAX_LOCAL_BYTES,
    Address,
    AddressTooLong,
    BadAddress,
    address_key,
    check_local,
)
from imxrouter.model.domain import BadDomain, Domain

SAME = {
    "case": ("Alice", "alice"),
    "fullwidth": ("ａｌｉｃｅ", "alice"),
    "fullwidth capitals": ("ＡＬＩＣＥ", "alice"),
    "sharp s": ("Straße", "STRASSE"),
    "capital sharp s": ("STRAẞE", "strasse"),
    "final sigma": ("Οδυσσεύς", "ΟΔΥΣΣΕΎΣ"),
    "composed and not": ("Jürgen", "Ju\u0308rgen"),
    "Kelvin": ("\u212aelvin", "kelvin"),
    "halfwidth katakana": ("\uff71\uff92", "アメ"),
    "Cherokee": ("\u13a0", "\uab70"),
}
DIFFERENT = {
    "dotless i": ("ılgaz", "ilgaz"),
    "dotted capital I": ("İlgaz", "ilgaz"),
    "accent": ("jose", "josé"),
    "Cyrillic a": ("аlice", "alice"),
}


def key(local: str) -> bytes:
    """The key of an address whose domain does not matter."""
    return address_key(local.encode() + b"@b.example")


@pytest.mark.parametrize("name", SAME)
def test_spellings_of_one_address_share_a_key(name: str) -> None:
    """A block on one is a block on the other."""
    one, other = SAME[name]
    assert key(one) == key(other)


@pytest.mark.parametrize("name", DIFFERENT)
def test_different_users_keep_different_keys(name: str) -> None:
    """Folding does not depend on a language, and does not join what only looks alike."""
    one, other = DIFFERENT[name]
    assert key(one) != key(other)


@given(st.text(max_size=40))
def test_a_key_is_stable(local: str) -> None:
    """It is valid UTF-8 with the same domain, and folding it once more changes nothing."""
    try:
        folded = key(local)
    except BadAddress:
        return
    assert folded.endswith(b"@b.example")
    text = folded.rpartition(b"@")[0].decode("utf-8")
    try:
        again = key(text)
    except BadAddress:
        return  # a folded local part need not be one that a user may have
    assert again == folded


@given(st.text(max_size=40))
def test_case_does_not_make_another_key(local: str) -> None:
    """Whatever the script: upper, lower and folded spellings that are addresses at all share a key."""
    try:
        expected = key(local)
        spellings = [check_local(other) for other in (local.casefold(), local.swapcase().casefold())]
    except BadAddress:
        return
    assert {key(spelling) for spelling in spellings} <= {expected}


@given(st.binary(max_size=300))
def test_any_bytes_have_a_key_or_none(raw: bytes) -> None:
    """Nothing else is raised, whatever stands in an envelope."""
    with suppress(BadAddress, BadDomain):
        address_key(raw)


@given(st.text(max_size=100))
def test_parsing_and_the_wire_agree(local: str) -> None:
    """An address that parses goes over the wire and back, and its key is that of its bytes."""
    try:
        address = Address.parse(f"{local}@b.example")
    except BadAddress:
        return
    assert Address.from_wire(address.local.encode(), b"b.example") == address
    assert Address.from_own(address.wire) == address
    assert address.key == address_key(address.wire)


BAD = {
    "two @": "a@b@c.example",
    "nothing before @": "@b.example",
    "space": "a b@b.example",
    "no-break space": "a\u00a0b@b.example",
    "control": "a\x00b@b.example",
    "newline inside": "a\nb@b.example",
    "zero width joiner": "a\u200db@b.example",
    "right-to-left override": "a\u202eb@b.example",
    "ligature": "\ufb01x@b.example",
    "unassigned": "\U000e0fff@b.example",
}


@pytest.mark.parametrize("name", BAD)
def test_what_is_no_address_is_refused(name: str) -> None:
    """By name, and not by mapping it to something else."""
    with pytest.raises(BadAddress):
        Address.parse(BAD[name])


@pytest.mark.parametrize("raw", [b"", b"b.example", b"alice@", b"alice@B.example", b"alice@b..example",
                                 b"\xff@b.example", b"\xed\xa0\x80@b.example", b"a@c@b.example"])  # fmt: skip
def test_bytes_that_are_no_address_have_no_key(raw: bytes) -> None:
    """Not UTF-8, not in wire form, or no `@` at all."""
    with pytest.raises((BadAddress, BadDomain)):
        address_key(raw)


def test_lengths_are_counted_in_bytes() -> None:
    """255 of local part, in UTF-8."""
    assert check_local("a" * MAX_LOCAL_BYTES)
    assert check_local("ü" * 127)
    for long in ("a" * 256, "ü" * 128, "a" * 100_000):
        with pytest.raises(AddressTooLong):
            check_local(long)


def test_a_domain_alone_is_an_address() -> None:
    """Its local part is empty; so says the wire."""
    address = Address.parse("B.Example")
    assert (address.local, str(address), address.wire) == ("", "b.example", b"@b.example")
    assert address_key(b"@b.example") == b"@b.example"


def test_the_spelling_is_kept() -> None:
    """For delivery; the key folds."""
    address = Address.parse("Alice@Bücher.example")
    assert str(address) == "Alice@xn--bcher-kva.example"
    assert address.domain == Domain("xn--bcher-kva.example")
    assert address.key == b"alice@xn--bcher-kva.example"
