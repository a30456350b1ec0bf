"""The XML of streams: bytes to the stream's tag, the elements at its first level, and its end.

pyexpat finds borders and names only; what goes on are the very bytes. Its cost is bounded by four habits:

- Bytes are given to it up to the last `>` that is there, and an unfinished tag only when its own `>` has
  come: expat 2.5 reads an unfinished token again from its beginning each time.
- The size is checked before bytes are given to it, the rest (depth, elements, attributes, namespaces, names)
  where an element begins.
- It keeps every distinct name for its life. One stanza may bring so many new ones; when there are too many
  of them, the parser is replaced between two stanzas: the new one is given the stream's tag again.
- It is made when the first `<` has come, so that a silent stranger costs less.

Names of namespaces are not judged here, as no receiver of a stream does: `Element.tree` does it, where a
document is read for its meaning.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final
from xml.parsers import expat

from imxrouter.gateways.xmpp.findings import (
    NOTHING,
    SEPARATOR,
    bare_expat,
    begins_no_character,
    declared_encoding,
    is_cdata,
    is_utf8,
    named_of,
    refuser,
)
from imxrouter.gateways.xmpp.flat import most_bytes, read_whole
from imxrouter.gateways.xmpp.heard import (
    AFTER,
    BEFORE,
    Header,
    StreamEnd,
    XmlLimits,
    XmlRefused,
    over,
)
from imxrouter.gateways.xmpp.names import CLIENT, COMPONENT, STANZAS, UNDETERMINED, Condition
from imxrouter.gateways.xmpp.stanza import TAG, Element, Stanza
from imxrouter.gateways.xmpp.stream_tag import STREAM_TAG, Outer, header_again, header_of, outer_of
from imxrouter.gateways.xmpp.tail import CDATA, Tail

__all__ = ["AFTER", "BEFORE", "Event", "Header", "StreamEnd", "StreamParser", "XmlLimits", "XmlRefused"]

#: Distinct names after which a parser is replaced between two stanzas: 1000 hold 16 to 23 KiB.
MOST_NAMES: Final = 1024
_MESSAGE: Final = b"<message "
_UNDEFINED_ENTITY: Final = expat.errors.codes[expat.errors.XML_ERROR_UNDEFINED_ENTITY]
_ENCODINGS: Final = frozenset(
    expat.errors.codes[one]
    for one in (expat.errors.XML_ERROR_UNKNOWN_ENCODING, expat.errors.XML_ERROR_INCORRECT_ENCODING)
)


Event = Header | Element | StreamEnd


class StreamParser:
    """Reads one stream in one direction, in time linear in its bytes.

    Attributes:
        renewals: how often the parser inside was replaced.
    """

    __slots__ = (
        "_at", "_base", "_content", "_declared", "_depth", "_elements", "_events", "_exact", "_fed", "_head",
        "_header", "_header_raw", "_in_cdata", "_intern", "_language", "_limits", "_most",
        "_most_names", "_outer", "_parser", "_raw", "_refused", "_scope", "_start_at", "_stepwise", "_tail",
        "_touchy", "_usual_bytes", "renewals",
    )  # fmt: skip

    def __init__(self, limits: XmlLimits, content: str, *, stepwise: bool = False) -> None:
        """Make a reader.

        Args:
            limits: what the other side may do; see `widen`.
            content: the default namespace that the stream must have, one of `names.CONTENT`.
            stepwise: see `feed`.
        """
        self.renewals = 0
        self._limits = limits
        self._most = limits.counts
        self._content = content
        self._stepwise = stepwise
        self._refused: XmlRefused | None = None
        self._events: list[Event] = []
        self._header: Header | None = None
        self._header_raw = b""
        self._language = ""
        self._outer: list[Outer] = []
        self._tail = Tail()
        # What has been given to it, from `_base` on; all positions are in bytes given to this expat.
        self._raw = bytearray()
        self._base = self._fed = 0
        self._at = 0  # where the last thing at the first level ended
        self._start_at = 0  # where the open element at the first level begins
        self._depth = self._elements = self._scope = 0
        self._head: tuple[str, list[str], dict[str, str]] = ("", [], {})
        self._declared: dict[str, str] = {}
        self._touchy = self._in_cdata = self._exact = False
        self._parser: expat.XMLParserType | None = None
        self._intern: Mapping[str, str] = NOTHING
        self._most_names = limits.new_names
        #: of a message that is read without expat; none where it is read in steps
        self._usual_bytes = 0 if stepwise else most_bytes(limits)

    @property
    def names(self) -> int:
        """Distinct names that expat holds."""
        return len(self._intern)

    @property
    def held_bytes(self) -> int:
        """Bytes that are kept of what came."""
        return len(self._tail) + len(self._raw) + len(self._header_raw)

    @property
    def is_stepwise(self) -> bool:
        """Whether a feed gives one event at most."""
        return self._stepwise

    @property
    def is_refused(self) -> bool:
        """Whether nothing more is read, for the stream broke a rule."""
        return self._refused is not None

    def widen(self, limits: XmlLimits) -> None:
        """Take other limits, as for a peer that has proved itself, and read on without steps."""
        self._most_names += limits.new_names - self._limits.new_names
        self._limits = limits
        self._most = limits.counts
        self._stepwise = False
        self._usual_bytes = most_bytes(limits)

    def rest(self) -> bytes:
        """Hand over what came behind the last event of a stepwise reader, for a parser that follows."""
        return self._tail.empty()

    def close(self) -> None:
        """Read nothing more, and free expat at once: it and this object hold each other."""
        if self._refused is None:
            self._refused = XmlRefused(Condition.UNDEFINED_CONDITION, "closed")
        self._parser = None
        self._intern = NOTHING
        self._tail.empty()
        self._raw.clear()
        self._header_raw = b""

    def feed(self, data: bytes) -> list[Event]:
        """Read on.

        Args:
            data: what came. Empty bytes are allowed.

        Returns:
            What is complete now, in order. A stepwise reader returns one event at most: feed it empty bytes
            until nothing comes, or take the `rest` to another parser.

        Raises:
            XmlRefused: the stream must end; once raised, it is raised for ever. Events of the same bytes
                that came before the fault are in `before` of the error.
        """
        if self._refused is not None:
            raise self._refused
        events: list[Event] = []
        self._events = events
        try:
            if self._usual_bytes:
                self._read_both_ways(data)
            else:
                self._read(data)
        except XmlRefused as refused:
            refused.before = events
            self._refused = refused
            self.close()
            raise
        return events

    def _read(self, data: bytes) -> None:
        """Read by expat."""
        self._tail.add(data)
        while cut := self._cut():
            self._parse(cut)
            if self._stepwise and self._events:
                return

    # Usual messages, without expat.

    def _read_both_ways(self, data: bytes) -> None:
        """Read usual messages without expat, and the rest by it."""
        at, end, may_follow = 0, len(data), True
        while at < end and may_follow:
            if self._is_between:
                at = self._usual(data, at)
                if at == end:
                    return
            until = data.find(_MESSAGE, at + 1)
            if until < 0:
                break
            self._read(data[at:until])
            at, may_follow = until, self._is_between
        self._read(data[at:])

    @property
    def _is_between(self) -> bool:
        """Whether expat has all that came before, and stands between two elements of the first level."""
        return self._depth == 1 and not len(self._tail) and not self._tail.begun_bytes

    def _usual(self, data: bytes, at: int) -> int:
        """Read usual messages as far as one stands behind the other; returns where they end.

        What they are is what expat would find: `flat` says so, and a property holds it to that.
        """
        content, language, events, end = self._content, self._language, self._events, len(data)
        while at < end and (found := read_whole(data, at, self._usual_bytes)):
            raw, said = found
            for _, _, mark, use in self._outer:
                if mark in raw and use.search(raw):
                    return at  # a prefix of the stream may be meant
            events.append(Stanza(content, "message", raw, said, content, NOTHING, language, False))
            at += len(raw)
        return at

    # What may be given to expat.

    def _cut(self) -> int:
        """How many bytes of the tail it is given next, 0 for none. Refuses what is too long."""
        tail = self._tail
        if self._depth < 2 and not tail.begun_bytes:
            self._at_border(tail.first())
        limits = self._limits
        room = limits.stanza_bytes - len(self._raw)
        return tail.cut(limits, room, stepwise=self._stepwise, in_cdata=self._in_cdata)

    def _at_border(self, first: bytes) -> None:
        """Between elements of the first level, and before the stream, stands nothing but blanks."""
        if first[:1] in {b"", b"<"}:
            return
        if begins_no_character(first):
            raise XmlRefused(Condition.UNSUPPORTED_ENCODING, "not UTF-8")
        if self._header is not None:
            raise XmlRefused(Condition.BAD_FORMAT, "text between stanzas")
        if not first[0]:
            raise XmlRefused(Condition.UNSUPPORTED_ENCODING, "UTF-16 or UTF-32")
        raise XmlRefused(Condition.NOT_WELL_FORMED, "not XML")

    # Giving it to expat.

    def _parse(self, cut: int) -> None:
        parser = self._parser
        if parser is None:
            parser = self._parser = self._make()
        piece = self._tail.take(cut)
        if cut > self._limits.tag_bytes:
            # A tag may not be longer because all of it came at once: tags are measured if one can be.
            self._exact = max(map(len, piece.split(b"<"))) >= self._limits.tag_bytes
        self._raw += piece
        self._fed += cut
        try:
            parser.Parse(piece, False)
        except expat.ExpatError as error:
            raise self._judged(error.code, parser.ErrorByteIndex - self._base) from None
        self._exact = False
        self._forget(parser.CurrentByteIndex)
        if self._depth == 1 and len(self._intern) > MOST_NAMES:
            self._renew()

    def _forget(self, index: int) -> None:
        """Drop what is not needed any more; `index` is where expat's unfinished token begins."""
        if self._depth == 1:
            self._nothing_until(index)
            self._at = index
        if self._depth:
            keep = index if self._depth == 1 else self._start_at
            del self._raw[: keep - self._base]
            self._base = keep
        if index < self._fed:
            token = self._raw[index - self._base :]
            # Each of these ends at its first `>`, or is refused when it ends.
            if token[:1] == b"<" and token[1:2] in b"!?" and not is_cdata(token):
                raise XmlRefused(Condition.RESTRICTED_XML, "a comment, an instruction or a document type")
            self._tail.begun(token)

    def _judged(self, code: int, index: int) -> XmlRefused:
        """What an error of expat means to the peer."""
        words = expat.errors.messages[code]
        if code == _UNDEFINED_ENTITY:
            return XmlRefused(Condition.RESTRICTED_XML, words)
        if code in _ENCODINGS:
            return XmlRefused(Condition.UNSUPPORTED_ENCODING, words)
        if self._depth == 1:
            self._at_border(bytes(self._raw[self._at - self._base :].lstrip()[:4]))
        if not is_utf8(bytes(self._raw[max(index, 0) :][:4])):
            return XmlRefused(Condition.UNSUPPORTED_ENCODING, "not UTF-8")
        # Behind the root a document type is no event, but a token that breaks off behind `<!`.
        token = self._raw[max(self._raw.rfind(b"<", 0, max(index, 0)), 0) :][: len(CDATA)]
        if token[:2] == b"<!" and not is_cdata(token):
            return XmlRefused(Condition.RESTRICTED_XML, "a document type")
        return XmlRefused(Condition.NOT_WELL_FORMED, words)

    def _renew(self) -> None:
        """Replace expat, which keeps every name; between two stanzas it has nothing to remember."""
        self._tail.put_back(bytes(self._raw))
        self._raw.clear()
        parser = bare_expat()
        parser.Parse(self._header_raw, False)
        self._base = self._fed = self._at = len(self._header_raw)
        self._parser = self._listen(parser)
        self._most_names = len(self._intern) + self._limits.new_names
        self.renewals += 1

    def _make(self) -> expat.XMLParserType:
        return self._listen(bare_expat())

    def _listen(self, parser: expat.XMLParserType) -> expat.XMLParserType:
        parser.StartElementHandler = self._start
        parser.EndElementHandler = self._end
        parser.StartNamespaceDeclHandler = self._declare
        parser.EndNamespaceDeclHandler = self._undeclare
        parser.StartCdataSectionHandler = self._cdata
        parser.EndCdataSectionHandler = self._no_cdata
        parser.XmlDeclHandler = declared_encoding
        parser.StartDoctypeDeclHandler = refuser("a document type")
        parser.EntityDeclHandler = refuser("an entity is declared")
        parser.SkippedEntityHandler = refuser("an entity is used")
        parser.ExternalEntityRefHandler = refuser("an entity is used")
        parser.CommentHandler = refuser("a comment")
        parser.ProcessingInstructionHandler = refuser("a processing instruction")
        self._intern = parser.intern
        return parser

    # What expat finds.

    def _cdata(self) -> None:
        self._in_cdata = True

    def _no_cdata(self) -> None:
        self._in_cdata = False

    def _declare(self, prefix: str | None, namespace: str | None) -> None:
        self._scope += 1
        if self._scope > self._limits.namespaces:
            raise over("namespaces")
        if self._depth < 2:
            self._declared[prefix or ""] = namespace or ""
        if namespace == self._content or (namespace == CLIENT and self._content == COMPONENT):
            self._touchy = True

    def _undeclare(self, _prefix: str | None) -> None:
        self._scope -= 1

    def _start(self, name: str, attributes: list[str]) -> None:
        self._depth = depth = self._depth + 1
        self._elements = elements = self._elements + 1
        most_depth, most_elements, most_attributes = self._most
        if (
            depth > most_depth
            or elements > most_elements
            or len(attributes) > most_attributes
            or len(self._intern) > self._most_names
        ):
            raise over(self._broken(attributes))
        if self._exact:
            self._measure()
        if depth == 2:
            self._start_at = self._index()
            self._nothing_until(self._start_at)
            if name.startswith(STREAM_TAG):
                self._opened_again(name, attributes)
            self._head = (name, attributes, self._declared)
            self._declared = {}
        elif depth == 1:
            self._opened(name, attributes)

    def _broken(self, attributes: list[str]) -> str:
        """The limit that the element is over which begins."""
        limits = self._limits
        if self._depth > limits.depth + 1:
            return "depth"
        if self._elements > limits.elements:
            return "elements"
        return "attributes" if len(attributes) > 2 * limits.attributes else "new_names"

    def _end(self, _name: str) -> None:
        self._depth = depth = self._depth - 1
        if self._exact:
            self._measure()
        if depth == 1:
            self._completed()
        elif not depth:
            self._nothing_until(self._index())
            self._events.append(StreamEnd())

    def _nothing_until(self, index: int) -> None:
        """There may be blanks only behind the last thing at the first level."""
        if self._raw[self._at - self._base : index - self._base].strip():
            raise XmlRefused(Condition.BAD_FORMAT, "text between stanzas")

    def _index(self) -> int:
        return self._parser.CurrentByteIndex if self._parser is not None else -1

    def _measure(self) -> None:
        at = self._index() - self._base
        found = TAG.match(self._raw, at)
        if found and found.end() - at > self._limits.tag_bytes:
            raise over("tag_bytes")

    def _opened(self, name: str, attributes: list[str]) -> None:
        """The stream's tag."""
        at = self._index()
        tag = TAG.match(self._raw, at - self._base)
        if tag is None:  # cannot be: expat has just read it
            raise XmlRefused(Condition.NOT_WELL_FORMED, "no tag")
        self._header_raw = tag[0]
        self._at = self._base + tag.end()
        header = header_of(name, attributes, self._declared, self._content)
        self._declared = {}
        self._header, self._outer = header, outer_of(header)
        self._language = "" if header.language.lower() == UNDETERMINED else header.language
        self._events.append(header)
        self._next()

    def _opened_again(self, name: str, attributes: list[str]) -> None:
        """A stream's tag inside of the stream is told of where it begins, for it may never end."""
        header = self._header and header_again(self._header, name, attributes)
        if header is not None:
            self._events.append(header)

    def _completed(self) -> None:
        """An element at the first level."""
        name, attributes, own = self._head
        raw = bytes(self._raw[self._start_at - self._base : self._end_index() - self._base])
        parts = name.split(SEPARATOR)
        namespace, local = (parts[0], parts[1]) if len(parts) > 1 else ("", name)
        outer = {
            prefix: uri
            for prefix, uri, mark, use in self._outer
            if mark in raw and prefix not in own and use.search(raw)
        }
        is_content = namespace == self._content or (namespace == CLIENT and self._content == COMPONENT)
        kind = Stanza if is_content and local in STANZAS else Element
        self._events.append(
            kind(
                namespace,
                local,
                raw,
                named_of(attributes),
                namespace if is_content else self._content,
                outer or NOTHING,
                self._language,
                self._touchy,
            )
        )
        self._next()

    def _next(self) -> None:
        """The next element at the first level counts anew."""
        self._elements = 0
        self._touchy = False
        self._most_names = len(self._intern) + self._limits.new_names

    def _end_index(self) -> int:
        """Where the element ends that expat just ended; also what the next one follows."""
        at = self._index()
        local = at - self._base
        # Of `<a/>` expat gives the end here, of `</a>` the beginning. Text may end in `/>` too.
        if not (self._elements == 1 and self._raw[local - 2 : local] == b"/>" and self._is_one_tag(local)):
            at = self._base + self._raw.index(b">", local) + 1
        self._at = at
        return at

    def _is_one_tag(self, end: int) -> bool:
        tag = TAG.match(self._raw, self._start_at - self._base)
        return tag is not None and tag.end() == end
