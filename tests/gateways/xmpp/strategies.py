"""Streams for properties: a tag with prefixes and a language, and a stanza that uses them in all ways."""

from __future__ import annotations

from dataclasses import dataclass
from xml.sax.saxutils import escape

from hypothesis import strategies as st

from imxrouter.gateways.xmpp import names

PREFIXES = ("p", "q", "db", "stream")
URIS = ("urn:a", "http://b.example/?x=1&y=2", names.CLIENT, "urn:xmpp:forward:0", names.DIALBACK)
TEXTS = st.text("ab<>&'\"\t ]:é€\U0001f600", max_size=12)
LOCAL = st.sampled_from(["body", "x", "message", "error", "a.b-c", "é"])


def opening(content: str, prefixes: dict[str, str], language: str) -> bytes:
    """The tag of a stream."""
    declared = "".join(f" xmlns:{prefix}='{escape(uri)}'" for prefix, uri in prefixes.items())
    lang = f" xml:lang='{language}'" if language else ""
    start = f"<stream:stream xmlns='{content}' xmlns:stream='{names.STREAM}'{declared}{lang} version='1.0'>"
    return start.encode()


@dataclass(frozen=True)
class Case:
    """A stream with one stanza."""

    content: str
    opening: bytes
    stanza: bytes


@st.composite
def values(draw: st.DrawFn) -> str:
    """An attribute's value with its quotes."""
    quote = draw(st.sampled_from("'\""))
    text = escape(
        draw(TEXTS | st.sampled_from(["p:x", "urn:a", "/>"])), {quote: "&#39;" if quote == "'" else "&quot;"}
    )
    return quote + text.replace("&gt;", ">") + quote


@st.composite
def declarations(draw: st.DrawFn, content: str) -> dict[str, str]:
    """What an element declares: a default, none, or prefixes."""
    uris = st.sampled_from([*URIS, content, content])
    declared = draw(st.dictionaries(st.sampled_from(["p", "q", "r"]), uris, max_size=2))
    default = draw(st.sampled_from(["keep", "keep", "undo", "set"]))
    if default != "keep":
        declared[""] = draw(uris) if default == "set" else ""
    return declared


@st.composite
def elements(draw: st.DrawFn, content: str, scope: frozenset[str], depth: int, name: str = "") -> str:
    """One element as it is written; a name that is given stays in the content namespace."""
    declared = draw(declarations(content))
    if name:
        declared.pop("", None)
        if draw(st.booleans()):
            declared[""] = content
    scope |= declared.keys() - {""}
    prefixes = st.sampled_from(sorted(scope))
    tag = name
    if not name:
        tag = draw(LOCAL)
        if draw(st.booleans()):
            tag = f"{draw(prefixes)}:{tag}"
    gap = draw(st.sampled_from([" ", "\n", "  "]))
    said = [
        f"xmlns{':' if one else ''}{one}={written(uri, plain=draw(st.booleans()))}"
        for one, uri in declared.items()
    ]
    said += [
        f"{one}={draw(values())}" for one in draw(st.lists(st.sampled_from(["a", "to", "type"]), unique=True))
    ]
    if draw(st.booleans()):
        said.append(f"{draw(prefixes)}:z={draw(values())}")
    if draw(st.integers(0, 3)) == 0:
        said.append("xml:lang='fr'")
    inside = "".join(draw(st.lists(contents(content, scope, depth), max_size=3)))
    start = f"<{gap.join([tag, *draw(st.permutations(said))])}"
    if not inside and draw(st.booleans()):
        return f"{start}/>"
    return f"{start}>{inside}</{tag}{draw(st.sampled_from(['', ' ']))}>"


def written(uri: str, *, plain: bool) -> str:
    """A namespace name as a value, one of two ways; the other hides a letter in a reference."""
    text = escape(uri)
    return f"'{text}'" if plain or not uri else f'"&#{ord(uri[0])};{text[1:]}"'


@st.composite
def contents(draw: st.DrawFn, content: str, scope: frozenset[str], depth: int) -> str:
    """Text, a section of character data, or an element."""
    kind = draw(st.integers(0, 3))
    if depth and kind > 1:
        return draw(elements(content, scope, depth - 1))
    text = draw(TEXTS)
    if kind == 1:
        return f"<![CDATA[{text.replace(']]>', '')}]]>"
    greater = draw(st.sampled_from([">", "&gt;", "&#62;"]))
    return escape(text).replace("]]&gt;", "]]&#x3e;").replace("&gt;", greater)


@st.composite
def cases(draw: st.DrawFn) -> Case:
    """A stream of a server or a component."""
    content = draw(st.sampled_from([names.SERVER, names.COMPONENT]))
    uris = st.sampled_from([*URIS, content])
    prefixes = draw(st.dictionaries(st.sampled_from(["p", "q", "db"]), uris, max_size=3))
    language = draw(st.sampled_from(["", "de"]))
    scope = frozenset({*prefixes, "stream"})
    kind = draw(st.sampled_from(["message", "presence", "iq"]))
    return Case(
        content, opening(content, prefixes, language), draw(elements(content, scope, 2, kind)).encode()
    )
