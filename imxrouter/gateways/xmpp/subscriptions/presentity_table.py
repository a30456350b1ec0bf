"""Table P of the mapping (section 6.2): somebody elsewhere watches a user of XMPP."""

from __future__ import annotations

from enum import Enum
from types import MappingProxyType
from typing import Final

from imxrouter.gateways.xmpp.subscriptions.effects import Rule


class State(Enum):
    """How it stands between somebody elsewhere and a user of ours whom he wants to watch."""

    NONE = "none"
    #: the user was asked
    ASKED = "asked"
    #: approved, and watched
    FROM = "from"
    #: approved, and not watched now
    DORMANT = "dormant"
    #: refused, until a time
    DENIED = "denied"


class Event(Enum):
    """What happens: `X:` a stanza of the user's service, `I:` an operation of the other, `T:` a timer."""

    BEGIN = "I:subscribe begin"
    NO_STREAM = "I:subscribe begin, no stream"
    NO_ROOM = "I:subscribe begin, refused"
    RENEW = "I:renew"
    #: a second subscription of one watcher
    OTHER = "I:begin with another id"
    FETCH = "I:fetch"
    #: the last subscription of the pair has ended or expired
    END = "I:end, the last one"
    CANCEL = "I:end with the original form unsubscribe"
    SUBSCRIBED = "X:subscribed"
    #: nobody watches at present
    SUBSCRIBED_EARLY = "X:subscribed, no live one"
    SUBSCRIBED_NO_ROOM = "X:subscribed, refused"
    UNSUBSCRIBED = "X:unsubscribed"
    PRESENCE = "X:presence"
    #: unavailable from the bare JID, of one who was asked
    ACKNOWLEDGED = "X:unavailable from the bare JID"
    REFUSED = "X:presence error cancel"
    PUT_OFF = "X:presence error wait"
    LOST = "stream lost"
    BACK = "stream is back"
    SILENT = "T:silent"
    REPEAT = "T:repeat"
    REFRESH = "T:refresh"
    OVER = "T:over"
    RESTART = "restart"
    REMOVED = "removed"


class Do(Enum):
    """What is done."""

    #: take the request as one that waits for a decision, that is allowed, that is refused
    TAKE_WAITING = "take-waiting"
    TAKE_ALLOWED = "take-allowed"
    TAKE_REFUSED = "take-refused"
    #: answer that it waits, and tell nobody
    VAIN = "vain"
    SERVICE_DOWN = "service-down"
    BUSY = "busy"
    #: write the new state durably; where that fails nothing else is done
    KEEP = "keep"
    #: write it when it can be
    NOTE = "note"
    #: the same, to be forgotten after 24 hours, 10 minutes, 7 days
    NOTE_DAY = "note-day"
    NOTE_MINUTES = "note-minutes"
    NOTE_WEEK = "note-week"
    FORGET = "forget"
    #: ask the user
    ASK = "ask"
    #: ask him again after a pause that grows
    ASK_LATER = "ask-later"
    #: let the watcher be told what he may see
    ALLOW = "allow"
    REFUSE = "refuse"
    #: end what he has: the user is here no more
    END = "end"
    #: take what a resource says
    TAKE_STATE = "take-state"
    #: the same, where somebody waits for it
    GATHER = "gather"
    #: forget what resources said
    DROP_STATE = "drop-state"
    #: the watcher is gone: his bare JID is unavailable
    LEAVE = "leave"
    UNSUBSCRIBE = "unsubscribe"
    #: ask the user's service what there is: soon, or now for one who waits
    PROBE = "probe"
    PROBE_NOW = "probe-now"
    #: tell that nothing is known
    DOUBT = "doubt"


S, E, D = State, Event, Do
PresentityRule = Rule[State, Do]
_DENY: Final = (D.NOTE_DAY, D.REFUSE, D.DROP_STATE)
_CANCEL: Final = (D.FORGET, D.TAKE_WAITING, D.DROP_STATE, D.UNSUBSCRIBE)

TRANSITIONS: Final = MappingProxyType({
    (S.NONE, E.BEGIN): PresentityRule(("p-01",), S.ASKED, (D.TAKE_WAITING, D.KEEP, D.ASK)),
    (S.NONE, E.NO_STREAM): PresentityRule(("p-02",), S.NONE, (D.SERVICE_DOWN,)),
    (S.NONE, E.NO_ROOM): PresentityRule(("p-39",), S.NONE, (D.BUSY,)),
    (S.NONE, E.FETCH): PresentityRule(("p-03",), S.NONE, (D.VAIN,)),
    (S.ASKED, E.FETCH): PresentityRule(("p-03",), S.ASKED, (D.VAIN,)),
    (S.ASKED, E.RENEW): PresentityRule(("p-04",), S.ASKED, (D.TAKE_WAITING,)),
    (S.ASKED, E.OTHER): PresentityRule(("p-04",), S.ASKED, (D.TAKE_WAITING,)),
    (S.ASKED, E.BEGIN): PresentityRule(("p-04",), S.ASKED, (D.TAKE_WAITING, D.NOTE)),
    (S.ASKED, E.SUBSCRIBED): PresentityRule(("p-05",), S.FROM, (D.KEEP, D.ALLOW)),
    (S.FROM, E.SILENT): PresentityRule(("p-40",), S.FROM, (D.PROBE,)),
    (S.ASKED, E.UNSUBSCRIBED): PresentityRule(("p-06",), S.DENIED, _DENY),
    (S.ASKED, E.ACKNOWLEDGED): PresentityRule(("p-07",), S.ASKED),
    (S.ASKED, E.REFUSED): PresentityRule(("p-08",), S.DENIED, (D.NOTE_MINUTES, D.REFUSE, D.DROP_STATE)),
    (S.ASKED, E.PUT_OFF): PresentityRule(("p-09",), S.ASKED, (D.ASK_LATER,)),
    (S.ASKED, E.LOST): PresentityRule(("p-09",), S.ASKED, (D.ASK_LATER,)),
    (S.ASKED, E.REPEAT): PresentityRule(("p-10",), S.ASKED, (D.ASK,)),
    (S.ASKED, E.END): PresentityRule(("p-11",), S.ASKED, (D.NOTE_WEEK,)),
    (S.ASKED, E.OVER): PresentityRule(("p-41",), S.NONE, (D.FORGET,)),
    (S.ASKED, E.SUBSCRIBED_EARLY): PresentityRule(("p-12",), S.DORMANT, (D.KEEP,)),
    (S.ASKED, E.CANCEL): PresentityRule(("p-13",), S.NONE, _CANCEL),
    (S.FROM, E.RENEW): PresentityRule(("p-14",), S.FROM, (D.TAKE_ALLOWED,)),
    (S.FROM, E.OTHER): PresentityRule(("p-15",), S.FROM, (D.TAKE_ALLOWED,)),
    (S.FROM, E.FETCH): PresentityRule(("p-16",), S.FROM, (D.TAKE_ALLOWED,)),
    (S.FROM, E.END): PresentityRule(("p-17",), S.DORMANT, (D.NOTE, D.DROP_STATE, D.LEAVE)),
    (S.FROM, E.CANCEL): PresentityRule(("p-18",), S.NONE, _CANCEL),
    (S.FROM, E.PRESENCE): PresentityRule(("p-19",), S.FROM, (D.TAKE_STATE,)),
    (S.FROM, E.UNSUBSCRIBED): PresentityRule(("p-20", "p-25"), S.DENIED, _DENY),
    (S.FROM, E.SUBSCRIBED): PresentityRule(("p-21",), S.FROM),
    (S.FROM, E.LOST): PresentityRule(("p-22",), S.FROM, (D.DOUBT,)),
    (S.FROM, E.BACK): PresentityRule(("p-23",), S.FROM, (D.PROBE,)),
    (S.FROM, E.REFRESH): PresentityRule(("p-24",), S.FROM, (D.PROBE,)),
    (S.DORMANT, E.BEGIN): PresentityRule(("p-26",), S.FROM, (D.TAKE_ALLOWED, D.NOTE, D.PROBE_NOW)),
    (S.DORMANT, E.FETCH): PresentityRule(("p-27",), S.DORMANT, (D.TAKE_ALLOWED, D.PROBE_NOW)),
    (S.DORMANT, E.PRESENCE): PresentityRule(("p-28",), S.DORMANT, (D.GATHER,)),
    (S.DORMANT, E.UNSUBSCRIBED): PresentityRule(("p-29",), S.DENIED, _DENY),
    (S.DORMANT, E.OVER): PresentityRule(("p-30",), S.NONE, (D.FORGET, D.UNSUBSCRIBE)),
    (S.DORMANT, E.CANCEL): PresentityRule(("p-31",), S.NONE, _CANCEL),
    (S.DENIED, E.BEGIN): PresentityRule(("p-32",), S.DENIED, (D.TAKE_REFUSED,)),
    (S.DENIED, E.FETCH): PresentityRule(("p-32",), S.DENIED, (D.TAKE_REFUSED,)),
    (S.DENIED, E.SUBSCRIBED_EARLY): PresentityRule(("p-33",), S.DORMANT, (D.KEEP,)),
    (S.DENIED, E.OVER): PresentityRule(("p-34",), S.NONE, (D.FORGET,)),
    (S.NONE, E.SUBSCRIBED_EARLY): PresentityRule(("p-35",), S.DORMANT, (D.KEEP,)),
    (S.NONE, E.SUBSCRIBED_NO_ROOM): PresentityRule(("p-42",), S.NONE),
    (S.NONE, E.UNSUBSCRIBED): PresentityRule(("p-36",), S.NONE),
    **{(one, E.RESTART): PresentityRule(("p-37",), one) for one in (S.ASKED, S.DORMANT, S.DENIED)},
    (S.FROM, E.RESTART): PresentityRule(("p-37",), S.FROM, (D.PROBE,)),
    **{
        (one, E.REMOVED): PresentityRule(
            ("p-38",), S.NONE, (D.FORGET, D.END, D.DROP_STATE, D.UNSUBSCRIBE)
        )
        for one in S
        if one is not S.NONE
    },
})  # fmt: skip
