"""What the switch reads of a foreign form: what it is, so that it is judged as that (specification 7.11).

Off the hot path of messages. Only the start of the first tag is looked at, in time linear in its bytes;
whoever opens the form judges the rest. What is not plainly something milder counts as a message.
"""

from __future__ import annotations

import re
from typing import Final

from imxrouter.routing.rules import Right
from imxrouter.wire.layout import ADDRESSES_OFFSET

#: An XML start tag of XMPP; `presence` and `iq` without a prefix are of the namespace that the format gives.
_XMPP: Final = re.compile(
    rb"xmpp\x00<(presence|iq)((?:[ \t\r\n]+[^ \t\r\n=/<>\"']+[ \t\r\n]*=[ \t\r\n]*(?:\"[^\"]*\"|'[^']*'))*)"
    rb"[ \t\r\n]*/?>"
)
_TYPE: Final = re.compile(rb"[ \t\r\n]+([^ \t\r\n=/<>\"']+)[ \t\r\n]*=[ \t\r\n]*(?:\"([^\"]*)\"|'([^']*)')")
#: Of presence: what wants nothing of its recipient, who asked for it or can only ignore it.
_TELLS: Final = frozenset({b"", b"unavailable", b"subscribed", b"unsubscribe", b"unsubscribed", b"error"})
_ANSWERS: Final = frozenset({b"result", b"error"})


def is_presence(data: bytes) -> bool:
    """Whether a record of a foreign form carries presence; whole records only."""
    body = _body_of(data)
    found = _XMPP.match(data, body)
    return found is not None and found[1] == b"presence"


def right_of_form(data: bytes) -> Right | None:
    """What a foreign form wants of its recipient; None of what wants nothing of him.

    `subscribe` wants a subscription (RFC 6121 section 3.1), `probe` is a fetch (section 4.3), and the answer
    to an iq was asked for (RFC 6120 section 8.2.3); everything else is a message.
    """
    found = _XMPP.match(data, _body_of(data))
    if found is None:
        return Right.MESSAGE
    kind = next((one[2] or one[3] or b"" for one in _TYPE.finditer(found[2]) if one[1] == b"type"), b"")
    if found[1] == b"iq":
        return None if kind in _ANSWERS else Right.MESSAGE
    if kind in _TELLS:
        return None
    return Right.FETCH if kind == b"probe" else Right.SUBSCRIBE


def _body_of(data: bytes) -> int:
    return ADDRESSES_OFFSET + data[16] + data[17] + data[18] + data[19] + 2 + ((data[20] << 8) | data[21])
