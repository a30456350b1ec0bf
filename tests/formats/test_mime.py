"""The body codec: what it writes it reads, what it reads it keeps, and it is total."""

from __future__ import annotations

import contextlib
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from imxrouter.formats.mime import TEXT_PLAIN, BadBody, build_body, read_body
from imxrouter.model.address import Address
from imxrouter.model.operations import Message

ALICE, BOB = Address.parse("alice@a.example"), Address.parse("bob@b.example")
ID = bytes(range(16))
HEAD = b"From: alice@a.example\r\nTo: bob@b.example\r\n"

VALUES = st.text(st.characters(exclude_categories=("Cs", "Cc")), max_size=60).map(
    lambda text: text.strip(" \t")
)
NAMES = st.from_regex(r"X-[A-Za-z0-9-]{1,20}", fullmatch=True)


def message(content: bytes = b"hi", content_type: str = TEXT_PLAIN) -> Message:
    """A message from Alice to Bob."""
    return Message(ALICE, BOB, ID, content_type, content)


def test_a_body_looks_as_the_specification_says() -> None:
    """From, To, Content-Type, an empty line, the content."""
    assert build_body(message(b"hi\n")) == HEAD + b"Content-Type: text/plain; charset=utf-8\r\n\r\nhi\n"


@given(st.binary(max_size=300), st.lists(st.tuples(NAMES, VALUES), max_size=5))
def test_what_is_built_is_read(content: bytes, headers: list[tuple[str, str]]) -> None:
    """Content byte for byte, other headers in order."""
    body = read_body(build_body(message(content), tuple(headers)), ALICE, BOB)
    assert (body.content_type, body.headers, body.content) == (TEXT_PLAIN, tuple(headers), content)


@given(st.binary(max_size=400))
def test_any_bytes_give_a_body_or_bad_body(raw: bytes) -> None:
    """No other exception."""
    for data in (raw, HEAD + raw, HEAD + raw + b"\r\n\r\n" + raw, b"From: <im:" + raw + b">\r\n\r\n"):
        try:
            read_body(data, ALICE, BOB)
        except BadBody:
            continue


def test_very_long_lines_stay_as_they_are() -> None:
    """In headers and content (IMX-27)."""
    long = "x" * 200_000
    body = read_body(build_body(message(long.encode()), (("X-Long", long),)), ALICE, BOB)
    assert body.headers == (("X-Long", long),)
    assert body.content == long.encode()


def test_the_content_may_look_like_anything() -> None:
    """Only the first empty line counts; bare line ends and NUL are content."""
    content = b"\r\n\r\nFrom: eve@e.example\r\n\r\n\x00\n\r"
    assert read_body(build_body(message(content)), ALICE, BOB).content == content


SAME = [
    "Alice@a.example",
    "alice@A.EXAMPLE",
    "<alice@a.example>",
    '"A. \u00c9." <im:alice@a.example>',
    "<im:%61lice@a.example>",
]


@pytest.mark.parametrize("written", SAME)
def test_addresses_compare_by_their_key(written: str) -> None:
    """Spelling, display names and im: URIs make no difference."""
    raw = f"From: {written}\r\nTo: bob@b.example\r\n\r\nx".encode()
    assert read_body(raw, ALICE, BOB).content == b"x"


def test_a_local_part_may_hold_brackets_and_schemes() -> None:
    """PRECIS allows them, and they are not taken for a display name or an URI."""
    odd = Address.parse("im:a<b@a.example")
    built = build_body(Message(odd, BOB, ID, TEXT_PLAIN, b"x"))
    assert read_body(built, odd, BOB).content == b"x"


def test_an_international_address_stands_inside_in_any_form() -> None:
    """A U-label inside, an A-label in the envelope."""
    sender = Address.parse("zoë@bücher.example")
    assert sender.domain.name.startswith("xn--")
    raw = "From: zoë@bücher.example\r\nTo: bob@b.example\r\n\r\nx".encode()
    assert read_body(raw, sender, BOB).content == b"x"


BAD = {
    "no end": HEAD,
    "no headers": b"\r\nhello",
    "From missing": b"To: bob@b.example\r\n\r\n",
    "To missing": b"From: alice@a.example\r\n\r\n",
    "other From": b"From: eve@a.example\r\nTo: bob@b.example\r\n\r\n",
    "other To": b"From: alice@a.example\r\nTo: eve@b.example\r\n\r\n",
    "no address": b"From: a@b@c\r\nTo: bob@b.example\r\n\r\n",
    "two From": HEAD + b"From: alice@a.example\r\n\r\n",
    "transfer encoding": HEAD + b"Content-Transfer-Encoding: base64\r\n\r\naGk=",
    "not UTF-8": HEAD + b"Subject: \xff\r\n\r\n",
    "bare line feed": b"From: alice@a.example\nTo: bob@b.example\r\n\r\n",
    "control character": HEAD + b"Subject: a\x00b\r\n\r\n",
    "no colon": HEAD + b"Subject\r\n\r\n",
    "space in a name": HEAD + b"Sub ject: x\r\n\r\n",
    "continuation first": b" x\r\n" + HEAD + b"\r\n",
    "bad escape": b"From: <im:%ff@a.example>\r\nTo: bob@b.example\r\n\r\n",
    "many headers": HEAD + b"X: y\r\n" * 300 + b"\r\n",
    "many lines": HEAD + b"X: y\r\n" + b" z\r\n" * 600 + b"\r\n",
}


@pytest.mark.parametrize("name", BAD)
def test_a_bad_body_is_refused(name: str) -> None:
    """Each by the same error."""
    with pytest.raises(BadBody):
        read_body(BAD[name], ALICE, BOB)


def test_a_folded_header_is_joined() -> None:
    """As mail libraries write long Content-Types."""
    raw = HEAD + b"Content-Type: text/html-lite;\r\n\tcharset=utf-8\r\n\r\n"
    assert read_body(raw, ALICE, BOB).content_type == "text/html-lite; charset=utf-8"


@pytest.mark.parametrize(
    "headers",
    [(("From", "x"),), (("Bad name", "x"),), (("X", "a\r\nTo: eve@e.example"),), (("X", "\ud800"),)],
)
def test_no_header_can_be_smuggled_out(headers: tuple[tuple[str, str], ...]) -> None:
    """What would make another header is refused."""
    with pytest.raises(BadBody):
        build_body(message(), headers)
    with pytest.raises(BadBody):
        build_body(message(content_type="text/plain\r\nFrom: eve@e.example"))


def test_too_many_headers_are_not_built() -> None:
    """What is not read is not written."""
    with pytest.raises(BadBody):
        build_body(message(), (("X", "y"),) * 300)


@pytest.mark.parametrize("unit", [b"a", b"X: y\r\n", b"\r\n", b" \r\n", b"<", b"From: <", b"%", b":"])
def test_time_grows_with_the_bytes_only(unit: bytes) -> None:
    """A megabyte of anything is read or refused at once; a quadratic reader would take minutes."""
    raw = HEAD + unit * (1_000_000 // len(unit))
    start = time.process_time()
    for end in (b"", b"\r\n\r\n"):
        with contextlib.suppress(BadBody):
            read_body(raw + end, ALICE, BOB)
    assert time.process_time() - start < 2.0
