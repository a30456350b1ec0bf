"""Table W of the mapping (section 6.1): a user of XMPP watches somebody elsewhere."""

from __future__ import annotations

from enum import Enum
from types import MappingProxyType
from typing import Final

from imxrouter.gateways.xmpp.subscriptions.effects import Rule


class State(Enum):
    """How it stands between a user of ours and somebody he wants to watch."""

    NONE = "none"
    #: wanted, not approved
    ASKING = "asking"
    #: approved; the subscription is renewed
    TO = "to"
    #: approved; not renewed, for nobody asks
    ASLEEP = "asleep"
    #: not wanted any more; its end is told
    ENDING = "ending"


class Event(Enum):
    """What happens: `X:` a stanza of the user's service, `I:` an operation of the other, `T:` a timer."""

    SUBSCRIBE = "X:subscribe"
    NO_ROOM = "X:subscribe, refused"
    UNSUBSCRIBE = "X:unsubscribe"
    PROBE = "X:probe"
    USER_ERROR = "X:presence error"
    #: three errors in a row
    USER_GONE = "X:presence error, three in a row"
    ANSWER_PENDING = "I:answer pending"
    ANSWER_ACTIVE = "I:answer active"
    ANSWER_FAILED = "I:answer any other failure"
    #: answered with a refusal, or ended for good
    REFUSED = "I:answer not-delivered"
    NOTIFY_PENDING = "I:notify pending"
    NOTIFY_ACTIVE = "I:notify active"
    NOTIFY_UNKNOWN = "I:notify unknown"
    ENDED_AT_ONCE = "I:notify terminated deactivated"
    ENDED_LATER = "I:notify terminated probation"
    END_ANSWERED = "I:answer any"
    FETCHED = "I:fetched presence"
    FETCH_REFUSED = "I:fetched pending"
    FETCH_FAILED = "I:fetch failed"
    #: ten seconds without success
    UNREACHED = "T:unreached"
    #: a minute ago the other side said that it knows of no approval
    LAPSED = "T:lapsed"
    RENEW = "T:renew"
    IDLE = "T:idle"
    RESTART = "restart"
    REMOVED = "removed"


class Do(Enum):
    """What is done."""

    #: hold the subscription; its request comes by itself
    WANT = "want"
    #: end it, with the form of the stanza that asks for it
    UNWANT = "unwant"
    #: end it, and the consent with it, though no stanza asks for it
    GIVE_BACK = "give-back"
    #: ask anew now: its answer tells how it stands
    ASK_AGAIN = "ask-again"
    #: it seems that the approval is gone: wait whether it comes again
    LAPSE = "lapse"
    #: tell the end of one that is not held any more
    END = "end"
    FETCH = "fetch"
    #: write the new state durably; where that fails nothing else is done
    KEEP = "keep"
    #: write the new state, or that somebody asked, when it can be
    NOTE = "note"
    FORGET = "forget"
    SUBSCRIBED = "subscribed"
    UNSUBSCRIBED = "unsubscribed"
    #: show what changed
    SHOW = "show"
    #: show all there is, now or when it comes
    SHOW_ALL = "show-all"
    #: the same, at most once in two seconds
    ANSWER = "answer"
    #: take back what is shown
    HIDE = "hide"
    #: show that nothing is known, for nobody looks after it any more
    DOUBT = "doubt"
    #: tell that it failed
    ERROR = "error"
    #: count an error of the user's service
    COUNT = "count"


S, E, D = State, Event, Do
WatcherRule = Rule[State, Do]

TRANSITIONS: Final = MappingProxyType({
    (S.NONE, E.SUBSCRIBE): WatcherRule(("w-01",), S.ASKING, (D.WANT, D.KEEP)),
    (S.NONE, E.NO_ROOM): WatcherRule(("w-02",), S.NONE, (D.ERROR,)),
    (S.ASKING, E.SUBSCRIBE): WatcherRule(("w-03",), S.ASKING),
    (S.ASKING, E.ANSWER_PENDING): WatcherRule(("w-04",), S.ASKING),
    (S.ASKING, E.ANSWER_ACTIVE): WatcherRule(("w-05",), S.ASKING),
    (S.ASKING, E.NOTIFY_PENDING): WatcherRule(("w-06",), S.ASKING),
    (S.ASKING, E.NOTIFY_ACTIVE): WatcherRule(("w-07",), S.TO, (D.KEEP, D.SUBSCRIBED, D.SHOW_ALL)),
    (S.ASKING, E.REFUSED): WatcherRule(("w-08",), S.NONE, (D.FORGET, D.UNSUBSCRIBED)),
    (S.ASKING, E.ANSWER_FAILED): WatcherRule(("w-09",), S.ASKING),
    (S.ASKING, E.UNREACHED): WatcherRule(("w-34",), S.ASKING, (D.ERROR,)),
    (S.ASKING, E.NOTIFY_UNKNOWN): WatcherRule(("w-10",), S.ASKING),
    (S.ASKING, E.UNSUBSCRIBE): WatcherRule(("w-11",), S.ENDING, (D.FORGET, D.UNWANT)),
    (S.ASKING, E.PROBE): WatcherRule(("w-12",), S.ASKING),
    (S.TO, E.SUBSCRIBE): WatcherRule(("w-13",), S.TO, (D.NOTE, D.SUBSCRIBED, D.SHOW_ALL)),
    (S.TO, E.PROBE): WatcherRule(("w-14",), S.TO, (D.NOTE, D.ANSWER)),
    (S.TO, E.UNSUBSCRIBE): WatcherRule(
        ("w-15",), S.ENDING, (D.FORGET, D.UNWANT, D.HIDE, D.UNSUBSCRIBED)
    ),
    (S.TO, E.NOTIFY_ACTIVE): WatcherRule(("w-16",), S.TO, (D.SHOW,)),
    (S.TO, E.NOTIFY_PENDING): WatcherRule(("w-17",), S.TO, (D.ASK_AGAIN,)),
    (S.TO, E.NOTIFY_UNKNOWN): WatcherRule(("w-18",), S.TO, (D.SHOW,)),
    (S.TO, E.REFUSED): WatcherRule(("w-19",), S.NONE, (D.FORGET, D.HIDE, D.UNSUBSCRIBED)),
    (S.ASKING, E.ENDED_AT_ONCE): WatcherRule(("w-20",), S.ASKING),
    (S.TO, E.ENDED_AT_ONCE): WatcherRule(("w-20",), S.TO),
    (S.ASKING, E.ENDED_LATER): WatcherRule(("w-21",), S.ASKING),
    (S.TO, E.ENDED_LATER): WatcherRule(("w-21",), S.TO),
    (S.TO, E.ANSWER_PENDING): WatcherRule(("w-40",), S.TO, (D.LAPSE,)),
    (S.TO, E.LAPSED): WatcherRule(("w-41",), S.ENDING, (D.FORGET, D.GIVE_BACK, D.HIDE, D.UNSUBSCRIBED)),
    (S.TO, E.ANSWER_ACTIVE): WatcherRule(("w-35",), S.TO),
    (S.TO, E.ANSWER_FAILED): WatcherRule(("w-22",), S.TO),
    (S.ASKING, E.RENEW): WatcherRule(("w-23",), S.ASKING),
    (S.TO, E.RENEW): WatcherRule(("w-23",), S.TO),
    (S.TO, E.IDLE): WatcherRule(("w-24",), S.ASLEEP, (D.NOTE, D.UNWANT, D.DOUBT)),
    (S.ASLEEP, E.PROBE): WatcherRule(("w-25",), S.TO, (D.WANT, D.KEEP, D.SHOW_ALL)),
    (S.ASLEEP, E.SUBSCRIBE): WatcherRule(("w-25",), S.TO, (D.WANT, D.KEEP, D.SUBSCRIBED, D.SHOW_ALL)),
    (S.ASLEEP, E.UNSUBSCRIBE): WatcherRule(("w-26",), S.NONE, (D.FORGET, D.END, D.UNSUBSCRIBED)),
    (S.NONE, E.PROBE): WatcherRule(("w-27",), S.NONE, (D.FETCH,)),
    (S.NONE, E.FETCHED): WatcherRule(("w-37",), S.TO, (D.WANT, D.KEEP, D.SHOW_ALL)),
    (S.NONE, E.FETCH_REFUSED): WatcherRule(("w-38",), S.NONE, (D.UNSUBSCRIBED,)),
    (S.NONE, E.FETCH_FAILED): WatcherRule(("w-39",), S.NONE, (D.ERROR,)),
    (S.NONE, E.UNSUBSCRIBE): WatcherRule(("w-28",), S.NONE, (D.UNSUBSCRIBED,)),
    (S.ENDING, E.END_ANSWERED): WatcherRule(("w-29",), S.NONE),
    (S.ENDING, E.SUBSCRIBE): WatcherRule(("w-30",), S.ASKING, (D.WANT, D.KEEP)),
    (S.ENDING, E.NO_ROOM): WatcherRule(("w-02",), S.ENDING, (D.ERROR,)),
    **{(one, E.USER_ERROR): WatcherRule(("w-31",), one, (D.COUNT,)) for one in S if one is not S.NONE},
    (S.TO, E.USER_GONE): WatcherRule(("w-36",), S.ASLEEP, (D.NOTE, D.UNWANT, D.DOUBT)),
    **{(one, E.RESTART): WatcherRule(("w-32",), one) for one in (S.ASKING, S.TO, S.ASLEEP)},
    **{
        (one, E.REMOVED): WatcherRule(("w-33",), S.NONE, (D.FORGET, D.UNWANT, D.HIDE, D.UNSUBSCRIBED))
        for one in S
        if one is not S.NONE
    },
})  # fmt: skip
