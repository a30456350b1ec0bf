"""Patterns of block and allow lists: what they name, and that no spelling slips past."""

from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from imxrouter.model.patterns import BadPattern, Pattern, Rank, places_of


@pytest.mark.parametrize(
    ("text", "normal", "rank", "where"),
    [
        ("Alice@A.Example", "Alice@a.example", Rank.ADDRESS, b"a.example"),
        ("Sales*@A.example", "sales*@a.example", Rank.LOCAL, b"a.example"),
        ("root@*", "root@*", Rank.LOCAL, b"*"),
        ("*bot*@.a.example", "*bot*@.a.example", Rank.LOCAL, b".a.example"),
        ("a.example.", "a.example", Rank.DOMAIN, b"a.example"),
        ("*@a.example", "a.example", Rank.DOMAIN, b"a.example"),
        ("*.a.example", "*.a.example", Rank.ZONE, b"*.a.example"),
        (".bücher.example", ".xn--bcher-kva.example", Rank.ZONE, b".xn--bcher-kva.example"),
        (" * ", "*", Rank.EVERYBODY, b"*"),
    ],
)
def test_a_pattern_has_one_form(text: str, normal: str, rank: Rank, where: bytes) -> None:
    """Whatever its spelling; and its form reads as itself."""
    pattern = Pattern.parse(text)
    assert (pattern.text, pattern.rank, pattern.where) == (normal, rank, where)
    assert Pattern.parse(normal) == pattern


@pytest.mark.parametrize(
    "text", ["", "@a.example", "a@b@c.example", "a b.example", "x@", "*.", "\ud800*@a.example"]
)
def test_what_is_no_pattern(text: str) -> None:
    """It is told."""
    with pytest.raises(BadPattern):
        Pattern.parse(text)


def test_an_address_is_compared_by_key() -> None:
    """Case and compatibility forms are one person."""
    keys = {Pattern.parse(text).key for text in ("Alice@a.example", "ALICE@A.EXAMPLE", "ａlice@a.example")}
    assert keys == {b"alice@a.example"}


def test_the_places_of_a_domain() -> None:
    """The closest first."""
    assert list(places_of(b"x.a.example")) == [
        (b"x.a.example",), (b".x.a.example",), (b"*.a.example", b".a.example"), (b"*.example", b".example"),
        (b"*",),
    ]  # fmt: skip


@given(st.text("ab*", min_size=1, max_size=8).filter(lambda text: "*" in text), st.text("ab", max_size=10))
def test_stars_stand_for_any_letters(glob: str, local: str) -> None:
    """As a regular expression has it, without its cost."""
    pattern = Pattern.parse(f"{glob}@a.example")
    if pattern.rank is Rank.LOCAL:
        wanted = re.fullmatch(".*".join(map(re.escape, glob.split("*"))), local) is not None
        assert pattern.matches_local(local.encode()) is wanted
    else:
        assert set(glob) == {"*"}
