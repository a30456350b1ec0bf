"""What the switch reads of a foreign form: what it is, so that it is judged as that (specification 7.11).

Off the hot path of messages. Only the start of the first tag is looked at, in time linear in its bytes;
whoever opens the form judges the rest. What is not plainly something milder counts as a message.
"""

from __future__ import annotations

import re
from typing import Final

from imxrouter.routing.rules import Right
from imxrouter.wire.layout import ADDRESSES_OFFSET

#: An XML start tag of XMPP; names without a prefix are of the namespace that the format gives.
_XMPP: Final = re.compile(
    rb"xmpp\x00<(presence|iq|message)"
    rb"((?:[ \t\r\n]+[^ \t\r\n=/<>\"']+[ \t\r\n]*=[ \t\r\n]*(?:\"[^\"]*\"|'[^']*'))*)[ \t\r\n]*/?>"
)
_ATTRIBUTE: Final = re.compile(
    rb"[ \t\r\n]+([^ \t\r\n=/<>\"']+)[ \t\r\n]*=[ \t\r\n]*(?:\"([^\"]*)\"|'([^']*)')"
)
#: Of presence: what wants nothing of its recipient, who asked for it or can only ignore it.
_TELLS: Final = frozenset({b"", b"unavailable", b"subscribed", b"unsubscribe", b"unsubscribed", b"error"})
_ANSWERS: Final = frozenset({b"result", b"error"})
_ASKS: Final = b"get"
_CHANGES: Final = b"set"
#: Sets for which a program rings or asks its user: a call (XEP-0166), a file by stream initiation (XEP-0095),
#: contacts to be added (XEP-0144). Each of these, and of all that may hide one by a character reference,
#: costs what a message does.
_RINGS: Final = (
    b"session-initiate", b"http://jabber.org/protocol/si", b"http://jabber.org/protocol/rosterx", b"&#"
)  # fmt: skip
#: Of each kind of stanza, what the router may say by itself.
_OWN_TYPES: Final = {
    b"message": frozenset({b"error"}), b"iq": _ANSWERS,
    b"presence": frozenset({b"unavailable", b"unsubscribe", b"unsubscribed", b"error"}),
}  # fmt: skip
_MESSAGE: Final = b"xmpp\0<message"
_GROUPCHAT: Final = b"groupchat"
_ARCHIVE: Final = b"urn:xmpp:mam:"
#: Parts of what a message costs. By the rates that are usual a user asks 500 things a second, 1,900 at once:
#: a program that begins asks three of each of its 600 contacts. From the rooms of one domain come 5,000 words
#: a second, 19,000 at once, for each who is in a room gets his own: a quarter of what a peer may send in all.
NOTHING: Final = 0.0
HANDED_OUT: Final = 0.001
ASKED: Final = 0.01
#: A set: 100 a second, 380 at once. A call of two media has up to 60 candidates, a set each; who enters 50
#: rooms reads 50 archives by sets; a file goes in-band with 400 kB a second, in the usual pieces of 4 KiB
#: (XEP-0047). Five times as much as a query, for it may change something where it goes.
SET: Final = 0.05
WHOLE: Final = 1.0
#: A start, an end, or both, of an element.
_TAG: Final = re.compile(
    rb"<(/?)([^ \t\r\n/<>\"'!?]+)((?:[ \t\r\n]+[^ \t\r\n=/<>\"']+[ \t\r\n]*=[ \t\r\n]*"
    rb"(?:\"[^\"]*\"|'[^']*'))*)[ \t\r\n]*(/?)>"
)


def is_presence(data: bytes) -> bool:
    """Whether a record of a foreign form carries presence; whole records only."""
    body = _body_of(data)
    found = _XMPP.match(data, body)
    return found is not None and found[1] == b"presence"


def is_state(data: bytes) -> bool:
    """Whether a record of a foreign form tells that somebody is available; whole records only."""
    found = _XMPP.match(data, _body_of(data))
    return found is not None and found[1] == b"presence" and not _attribute(found[2], b"type")


def right_of_form(data: bytes) -> Right | None:
    """What a foreign form wants of its recipient; None of what wants nothing of him.

    `subscribe` wants a subscription (RFC 6121 section 3.1), `probe` is a fetch (section 4.3), and the answer
    to an iq was asked for (RFC 6120 section 8.2.3); everything else is a message.
    """
    found = _XMPP.match(data, _body_of(data))
    if found is None or found[1] == b"message":
        return Right.MESSAGE
    kind = _attribute(found[2], b"type")
    if found[1] == b"iq":
        return None if kind in _ANSWERS else Right.MESSAGE
    if kind in _TELLS:
        return None
    return Right.FETCH if kind == b"probe" else Right.SUBSCRIBE


def part_of(data: bytes) -> float:
    """What a form costs of a rate, as a part of what a message costs; whole records only.

    What a server tells many at once on somebody's behalf does not cost him what a message does. Presence goes
    to each who asked for it, a probe to each of whom it was asked (RFC 6121 sections 4.2, 4.3), an answer was
    asked for: they cost nothing. A query shows nobody anything, and a program asks for the cards and keys of
    all contacts when it begins (XEP-0084, XEP-0384): `ASKED` of its sender's rate. Of sets many are sent at
    once as well, each candidate of a call (XEP-0176), the pieces of a file (XEP-0047), queries of archives
    (XEP-0313 section 4): `SET` of the rate, but for those by which somebody's program rings.

    What is said in a room goes to each who is in it (XEP-0045 section 7.4), and what was said before to who
    comes in; of an archive comes a message for each that it holds (XEP-0313): `HANDED_OUT` of a rate that the
    sender's domain has, for whoever sends it may have any name there. That is a message from a room to a full
    address; one to a bare address is what somebody says in a room.
    """
    body = _body_of(data)
    if data.startswith(_MESSAGE, body) and data.find(_GROUPCHAT, body) < 0 and data.find(_ARCHIVE, body) < 0:
        return WHOLE  # nearly all are so
    found = _XMPP.match(data, body)
    if found is None:
        return WHOLE
    kind = _attribute(found[2], b"type")
    if found[1] == b"presence":
        return NOTHING if kind in _TELLS or kind == b"probe" else WHOLE
    if found[1] == b"iq":
        return _part_of_iq(data, found.end(), kind)
    if b"/" not in _attribute(found[2], b"to"):
        return WHOLE
    return HANDED_OUT if kind == _GROUPCHAT or _is_of_archive(data, found.end()) else WHOLE


def _part_of_iq(data: bytes, at: int, kind: bytes) -> float:
    """What an iq of a kind costs; what is in it begins at `at`."""
    if kind in _ANSWERS or kind == _ASKS:
        return ASKED if kind == _ASKS else NOTHING
    return WHOLE if kind != _CHANGES or any(data.find(one, at) >= 0 for one in _RINGS) else SET


def _is_of_archive(data: bytes, at: int) -> bool:
    """Whether a message holds a result of an archive and nothing beside it (XEP-0313 section 4.2).

    Programs ignore what they did not ask for (section 8.2), so nobody is written to by it.

    Args:
        data: ends with the message.
        at: where its first child begins.
    """
    tag = _TAG.match(data, at)
    if tag is None or tag[2] != b"result" or not _attribute(tag[3], b"xmlns").startswith(_ARCHIVE):
        return False
    depth = 0
    while tag is not None:  # what is neither text nor a tag ends it: sections may hide tags
        depth += -1 if tag[1] else not tag[4]
        if depth <= 0:
            return data[tag.end() :] == b"</message>"
        tag = _TAG.match(data, max(data.find(b"<", tag.end()), 0))
    return False


def only_ends_or_answers(data: bytes) -> bool:
    """Whether a form is an answer, or takes presence back; whole records only.

    Such are the words of the router itself. It says presence of others again as well: that is theirs, and so
    is what it says for them.
    """
    found = _XMPP.match(data, _body_of(data))
    return found is not None and _attribute(found[2], b"type") in _OWN_TYPES[found[1]]


def _attribute(attributes: bytes, name: bytes) -> bytes:
    return next((one[2] or one[3] or b"" for one in _ATTRIBUTE.finditer(attributes) if one[1] == name), b"")


def _body_of(data: bytes) -> int:
    return ADDRESSES_OFFSET + data[16] + data[17] + data[18] + data[19] + 2 + ((data[20] << 8) | data[21])
