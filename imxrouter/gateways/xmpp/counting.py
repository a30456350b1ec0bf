"""Acknowledgements on one stream (XEP-0198, without resumption), and pings where there are none."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

from imxrouter.gateways.xmpp import say
from imxrouter.gateways.xmpp.acks import WRAP, Ask, TooHigh, Way
from imxrouter.gateways.xmpp.effects import Effect, Handled, Late, PingOut
from imxrouter.gateways.xmpp.elements import number
from imxrouter.gateways.xmpp.names import Condition
from imxrouter.gateways.xmpp.pairs import Pair
from imxrouter.gateways.xmpp.stanza import Element
from imxrouter.gateways.xmpp.steps import COMPONENTS
from imxrouter.gateways.xmpp.stream import Stream

_NOTHING: Final = Ask.NOTHING


def on_enable(stream: Stream, _element: Element) -> list[Effect]:
    """The other side wants its stanzas counted: after EXTERNAL and once (XEP-0198 section 3)."""
    if not stream.offered.sm or stream.counting:
        return [stream.wrote(say.sm_failed("unexpected-request"))]
    stream.counting = True
    if stream.pairs.bidi:
        stream.confirmations.enable()
    return [stream.wrote(say.SM_ENABLED)]


def on_resume(stream: Stream, _element: Element) -> list[Effect]:
    """No stream is taken up again: what was not acknowledged is never sent twice."""
    return [stream.wrote(say.sm_failed("item-not-found"))]


def on_enabled(stream: Stream, _element: Element) -> list[Effect]:
    """The other side counts; ours are counted since we asked."""
    if not stream.confirmations.by_acks:
        return stream.fail(Condition.UNSUPPORTED_STANZA_TYPE, "an answer to no request")
    stream.counting = True
    return []


def on_failed(stream: Stream, _element: Element) -> list[Effect]:
    """It does not: pings must do."""
    stream.confirmations.failed(stream.terms.confirm)
    return asked(stream, b"", stream.confirmations.ask_if_due(stream.now))


def on_request(stream: Stream, _element: Element) -> list[Effect]:
    """Say how many of its stanzas were handed over."""
    return [stream.wrote(say.sm_ack(stream.handled % WRAP))] if stream.counting else []


def on_ack(stream: Stream, element: Element) -> list[Effect]:
    """It says how many of ours it handled."""
    handled = number(element.attributes.get("h", ""))
    if handled is None or not stream.confirmations.by_acks:
        return stream.fail(Condition.BAD_FORMAT, "an acknowledgement without a number, or of nothing")
    asked_at = stream.confirmations.asked_at
    try:
        tags = stream.confirmations.acked(handled)
    except TooHigh as error:
        extra = say.handled_too_high(error.handled, error.sent)
        return stream.fail(Condition.UNDEFINED_CONDITION, str(error), extra=extra)
    if asked_at is not None:
        stream.round_trip_s = stream.now - asked_at
    confirmed: list[Effect] = [Handled(tags, True)] if tags else []
    return [*confirmed, *asked(stream, b"", stream.confirmations.ask_if_due(stream.now))]


def wrote(stream: Stream, data: bytes, tags: Iterable[int | None]) -> list[Effect]:
    """Write stanzas, and behind them what asks for them."""
    ask, settled = stream.confirmations.wrote(tags, stream.now)
    effects = asked(stream, data, ask)
    return [*effects, Handled(settled, False)] if settled else effects


def answered(stream: Stream, ident: str) -> list[Effect]:
    """The ping with this id was answered, wherever."""
    tags = stream.confirmations.barrier_answered(ident, stream.now)
    if tags is None:
        return []
    stream.round_trip_s = stream.confirmations.round_trip_s
    return [Handled(tags, True)] if tags else []


def asked(stream: Stream, data: bytes, ask: Ask) -> list[Effect]:
    """Write the data and the question in one."""
    if ask is _NOTHING:
        return [stream.wrote(data)] if data else []
    if ask is Ask.REQUEST:
        return [stream.wrote(data + say.SM_REQUEST)]
    pair = _pair(stream)
    if pair is not None:
        ident = stream.confirmations.barrier
        return [PingOut(ident, *pair), stream.wrote(data + say.ping(*pair, ident))]
    return [stream.wrote(data)] if data else []


def probe(stream: Stream) -> list[Effect]:
    """Ask whether the other side is there, if there is a way to ask it."""
    if not may_ask(stream):
        return []
    return asked(stream, b"", stream.confirmations.ask(stream.now))


def may_ask(stream: Stream) -> bool:
    """Whether there is a way to ask the other side for a sign of life, which it owes then."""
    confirmations = stream.confirmations
    return confirmations.by_acks or (confirmations.way is Way.PING and _pair(stream) is not None)


def _pair(stream: Stream) -> Pair | None:
    """Between whom a ping goes: the stream's own pair if that may write, else one that may."""
    pair = (stream.own, stream.other)
    if stream.role in COMPONENTS:
        return pair if all(pair) else None
    if stream.pairs.may_write(*pair):
        return pair
    if stream.pairs.ours:
        return next(iter(stream.pairs.ours))
    if stream.pairs.bidi and stream.pairs.theirs:
        theirs, ours = next(iter(stream.pairs.theirs))
        return ours, theirs
    return None


def late(stream: Stream, *, spoke: bool) -> list[Effect]:
    """Give up what was not confirmed in time, and ask again: about the rest, or because no answer came.

    Args:
        stream: the stream.
        spoke: the other side was heard since the last question.
    """
    confirmations = stream.confirmations
    dropped = confirmations.give_up_barrier(stream.now) and spoke
    tags = confirmations.late(stream.now)
    effects: list[Effect] = [Late(tags, dropped)] if tags or dropped else []
    if stream.said_end:
        return effects
    ask = confirmations.ask_if_due(stream.now)
    return [*effects, *asked(stream, b"", confirmations.ask_again(stream.now) if ask is _NOTHING else ask)]
