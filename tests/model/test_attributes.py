"""The registry of attribute keys, and its checks of names and values."""

from __future__ import annotations

import pytest

from imxrouter.model.attributes import (
    GLOBAL_KEYS,
    KEYS,
    BadAttribute,
    OwnerKind,
    ValueKind,
    check_name,
    check_value,
    is_attribute_name,
    is_good,
    kind_of,
    number_attribute,
    text_attribute,
)
from imxrouter.model.operations import Attribute


def test_each_global_key_stands_once_and_says_whose_it_is() -> None:
    """Names are on the wire: they are unique and in the form of the specification."""
    assert len(KEYS) == len(GLOBAL_KEYS) == 12
    assert all(is_attribute_name(name) and "/" not in name for name in KEYS)
    assert {key.name for key in GLOBAL_KEYS if key.owner is OwnerKind.USER} == {"alias", "presence", "vcard"}


@pytest.mark.parametrize("name", ["alias", "a.example/office-hours", "xn--bcher-kva.example/x", "a/1"])
def test_a_name_is_a_global_key_or_a_domains_own(name: str) -> None:
    """Both forms are taken."""
    check_name(name)


@pytest.mark.parametrize(
    "name",
    ["", "Alias", "a b", "nickname", "/x", "a.example/", "a..b/x", "a/b/c", "é", "a" * 256, "alias\n", "-x"],
)
def test_other_names_are_refused_by_what_they_are(name: str) -> None:
    """An unknown global key as well."""
    with pytest.raises(BadAttribute):
        check_name(name)


@pytest.mark.parametrize("value", [b"0", b"1800", b"18446744073709551615"])
def test_a_number_is_decimal_digits(value: bytes) -> None:
    """Up to 64 bits."""
    check_value("idle-timeout", value)


@pytest.mark.parametrize(
    "value", [b"", b"-1", b"01", b"1.5", b" 1", b"1\n", b"0x10", b"9" * 21, "٣".encode()]
)
def test_what_is_no_number_is_refused_with_the_key_and_the_value(value: bytes) -> None:
    """Each of them."""
    with pytest.raises(BadAttribute, match="idle-timeout is a number"):
        check_value("idle-timeout", value)


def test_text_is_utf8_without_control_characters() -> None:
    """It is shown on terminals."""
    check_value("alias", "Älice 🦊".encode())
    check_value("alias", b"")
    for bad in (b"\xff", b"a\x1b[2Jb", b"a\nb", "a\u202eb".encode()):
        with pytest.raises(BadAttribute, match="alias is text"):
            check_value("alias", bad)


def test_a_document_is_not_empty_and_a_domains_own_value_is_anything() -> None:
    """Their readers judge the rest."""
    check_value("presence", b"<x/>")
    with pytest.raises(BadAttribute, match="presence is a document"):
        check_value("presence", b"")
    check_value("a.example/x", b"\xff\x00")
    assert kind_of("a.example/x") is ValueKind.ANY


def test_attributes_are_made_checked() -> None:
    """What we publish is what we would take."""
    assert number_attribute("idle-timeout", 300, 60) == Attribute("idle-timeout", b"300", 60)
    assert text_attribute("alias", "é", 0).value == "é".encode()
    with pytest.raises(BadAttribute):
        number_attribute("idle-timeout", -1, 60)
    with pytest.raises(BadAttribute):
        text_attribute("nickname", "x", 60)
    assert is_good(Attribute("alias", b"Alice"))
    assert not is_good(Attribute("idle-timeout", b"soon"))
    assert is_good(Attribute("nickname", b"x"))
    assert not is_good(Attribute("Nickname", b"x"))
