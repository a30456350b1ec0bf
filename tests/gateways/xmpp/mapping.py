"""Reads the tables of `docs/specs/xmpp-mapping.md` by the grammar of its section 1."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

PAGE: Final = Path(__file__).resolve().parents[3] / "docs/specs/xmpp-mapping.md"
COLUMNS: Final = ("id", "XMPP", "model", "direction", "kept", "source")
TRANSITION_COLUMNS: Final = ("id", "state", "event", "next", "actions", "source")
DIRECTIONS: Final = frozenset({"->", "<-", "<->", "rule"})
KEPT: Final = frozenset({"all", "meaning", "original", "no", "na"})

_HEADING: Final = re.compile(r"^#{2,3} ([0-9.]+?)\.? ")
_SPAN: Final = re.compile(r"`([^`]*)`")
_FRAME: Final = re.compile(r"^    (message|presence|iq) +(<.*>)$", re.MULTILINE)


class Unreadable(AssertionError):
    """The page breaks its own grammar."""


@dataclass(frozen=True)
class Row:
    """One row of a mapping.

    Attributes:
        ident: unique on the page; names the test.
        section: number of the section that it stands in.
        xmpp, model: the cells as they stand.
        direction: of `DIRECTIONS`.
        kept: of `KEPT`.
        source: which rule it follows.
    """

    ident: str
    section: str
    xmpp: str
    model: str
    direction: str
    kept: str
    source: str

    @property
    def xmpp_spans(self) -> tuple[str, ...]:
        """What stands in code in the column XMPP."""
        return spans(self.xmpp)

    @property
    def model_spans(self) -> tuple[str, ...]:
        """What stands in code in the column model."""
        return spans(self.model)

    @property
    def fields(self) -> dict[str, str | None]:
        """The model's fields; None for one that must not be there."""
        found: dict[str, str | None] = {}
        for span in self.model_spans:
            if span.startswith("no "):
                found[span[3:]] = None
                continue
            name, equals, value = span.partition("=")
            if not equals:
                raise Unreadable(f"{self.ident}: `{span}` is no field of the model")
            found[name] = value
        return found


@dataclass(frozen=True)
class Transition:
    """One row of a table of transitions."""

    ident: str
    section: str
    state: str
    event: str
    next: str
    actions: str
    source: str


@dataclass(frozen=True)
class StanzaSpans:
    """The column XMPP of a row about a stanza.

    Attributes:
        attributes: set on the frame; None for one that must not be there.
        children: elements, as text.
        without: names of children that must not be there.
    """

    attributes: dict[str, str | None]
    children: tuple[str, ...]
    without: frozenset[str]


def spans(cell: str) -> tuple[str, ...]:
    r"""What stands in code, with `\n` and `\r` as the characters."""
    return tuple(one.replace("\\n", "\n").replace("\\r", "\r") for one in _SPAN.findall(cell))


def stanza_spans(row: Row) -> StanzaSpans:
    """The spans of a row about a stanza. Raises `Unreadable`."""
    attributes: dict[str, str | None] = {}
    children: list[str] = []
    without: set[str] = set()
    for span in row.xmpp_spans:
        if span.startswith("@"):
            found = re.fullmatch(r"@([a-z:]+)='([^']*)'", span, re.DOTALL)
            if found is None:
                raise Unreadable(f"{row.ident}: `{span}` sets no attribute")
            attributes[found[1]] = found[2]
        elif span.startswith("no @"):
            attributes[span[4:]] = None
        elif span.startswith("no "):
            without.add(span[3:])
        elif span.startswith("<"):
            children.append(span)
        else:
            raise Unreadable(f"{row.ident}: `{span}` is neither an attribute nor a child")
    return StanzaSpans(attributes, tuple(children), frozenset(without))


def frames() -> dict[str, str]:
    """The start tags of section 1, by kind."""
    return dict(_FRAME.findall(PAGE.read_text(encoding="utf-8")))


def framed(row: Row, kind: str) -> str:
    """The stanza of a row: its frame with its spans put in."""
    given = stanza_spans(row)
    tag = frames()[kind]
    for name, value in given.attributes.items():
        tag = re.sub(rf" {re.escape(name)}='[^']*'", "", tag)
        if value is not None:
            tag = tag[:-1] + f" {name}='{value}'>"
    children = list(given.children)
    has_body = any(re.match(r"<body[\s/>]", child) for child in children)
    if kind == "message" and not has_body and "body" not in given.without:
        children.insert(0, "<body>x</body>")
    return tag + "".join(children) + f"</{kind}>"


def rows() -> list[Row]:
    """Every row of the mappings."""
    return [_row(section, cells) for section, head, cells in _tables() if head == COLUMNS]


def transitions() -> list[Transition]:
    """Every row of the tables of transitions."""
    return [
        Transition(cells[0], section, *cells[1:])
        for section, head, cells in _tables()
        if head == TRANSITION_COLUMNS
    ]


def _row(section: str, cells: tuple[str, ...]) -> Row:
    ident, xmpp, model, direction, kept, source = cells
    word = re.split(r"[\s;,]", kept, maxsplit=1)[0]
    if direction not in DIRECTIONS or word not in KEPT or not source:
        raise Unreadable(f"{ident}: direction {direction!r}, kept {kept!r}, source {source!r}")
    return Row(ident, section, xmpp, model, direction, word, source)


def _tables() -> Iterator[tuple[str, tuple[str, ...], tuple[str, ...]]]:
    """Section, head and cells of every row of every table."""
    section, head = "", None
    for line in PAGE.read_text(encoding="utf-8").splitlines():
        heading = _HEADING.match(line)
        if heading:
            section = heading[1]
        if not line.startswith("| "):
            head = None
            continue
        cells = tuple(cell.strip() for cell in line.strip().strip("|").split("|"))
        if head is None:
            head = cells
            if head not in (COLUMNS, TRANSITION_COLUMNS):
                raise Unreadable(f"section {section}: a table with the columns {head}")
        elif not set(cells[0]) <= {"-"}:
            if len(cells) != len(head):
                raise Unreadable(f"section {section}: {cells[0]} has {len(cells)} columns")
            yield section, head, cells
