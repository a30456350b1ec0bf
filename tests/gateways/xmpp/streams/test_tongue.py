"""What is said of claims on streams, and how long a key or a question is good: the tongue alone."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from imxrouter.gateways.xmpp.say import DbType
from imxrouter.gateways.xmpp.steps import StreamRole
from imxrouter.gateways.xmpp.streams.tongue import NO_KEY, XmppTongue
from imxrouter.model.domain import Domain
from imxrouter.model.vocabulary import Reason
from tests.gateways.xmpp.streams.rig import A, B

OURS, THEIRS = Domain(A), Domain(B)


class Stream:
    """As much of a stream as is spoken on; notes what is."""

    def __init__(self, number: int, ident: str, role: StreamRole = StreamRole.S2S_OUT) -> None:
        self.number, self.role, self.other = number, role, B
        self.said: list[tuple[object, ...]] = []
        self.received = SimpleNamespace(waiting=[])
        self.machine = SimpleNamespace(
            stream_id=ident, external=False, pairs=[], features=SimpleNamespace(errors=False)
        )

    def __getattr__(self, name: str) -> Any:
        return lambda *given, **_more: self.said.append((name, *given))


@pytest.fixture
def tongue() -> Any:
    """Of a router with no keys of its own."""
    return XmppTongue(SimpleNamespace(), lambda _own, _other: None, lambda _call: None)  # type: ignore[arg-type, return-value]


def claim(number: int = 1, token: bytes = b"key") -> Any:
    """Of a domain to another."""
    return SimpleNamespace(number=number, from_domain=A.encode(), to_domain=B.encode(), token=token)


def test_a_key_is_good_while_its_stream_lives(tongue: Any) -> None:
    """Then nobody may prove anything by it; another stream to which the same id was given keeps its own."""
    first, second = Stream(1, "same"), Stream(2, "same")
    tongue.claim(first, claim())
    assert tongue.claimed == {("same", A, B): 1}
    assert first.said == [("claim", A, B, "key")]
    tongue.claim(second, claim())
    tongue.forget(first)
    assert tongue.claimed == {("same", A, B): 2}
    tongue.forget(second)
    assert (tongue.claimed, tongue._places) == ({}, {})


@pytest.mark.parametrize("gone", [0, 1])
def test_a_question_ends_with_either_of_its_streams(tongue: Any, gone: int) -> None:
    """The one that it was asked on, and the one that it is about; others wait on."""
    streams = Stream(1, "one"), Stream(2, "two", StreamRole.S2S_IN)
    others = Stream(3, "three"), Stream(4, "four", StreamRole.S2S_IN)
    for second, first in (streams, others):
        tongue.verify(second, 7, claim(), first)
    tongue.forget(streams[gone])
    assert list(tongue.asked) == [(3, B, A, "four")]


@pytest.mark.parametrize("reason", [Reason.NONE, Reason.DIALBACK_REFUSED, Reason.NOT_PROVED])
def test_what_sasl_asked_is_answered_by_sasl_alone(tongue: Any, reason: Reason) -> None:
    """Nobody waits for a result of dial-back; it would be a word out of its place."""
    stream = Stream(1, "one", StreamRole.S2S_IN)
    tongue.result(stream, claim(token=NO_KEY), reason, 0, (), 0)
    assert stream.said == [("authenticated",) if reason is Reason.NONE else ("not_authenticated",)]


@pytest.mark.parametrize("alone", ["alone", "proved", "waiting"])
def test_a_false_claim_ends_a_stream_with_nothing_else_on_it(tongue: Any, alone: str) -> None:
    """Where something is proved, or waits for its own proof, it is an error and the stream goes on."""
    stream = Stream(1, "one", StreamRole.S2S_IN)
    if alone == "proved":
        stream.machine.pairs.append((B, A))
    elif alone == "waiting":
        stream.received.waiting.append(2)
    tongue.result(stream, claim(), Reason.DIALBACK_REFUSED, 0, (), 0)
    kinds = [said[3] for said in stream.said if said[0] == "answer_claim"]
    assert kinds == [DbType.INVALID if alone == "alone" else DbType.ERROR]
    assert ("end", Reason.DIALBACK_REFUSED) in stream.said if alone == "alone" else len(stream.said) == 1


def test_only_who_understands_errors_is_asked_about_another_domain(tongue: Any) -> None:
    """Else the stream would end for it; and nobody is asked on a stream that he opened."""
    stream = Stream(1, "one")
    other = Domain("c.example")
    assert tongue.may_ask(stream, OURS, THEIRS)
    assert not tongue.may_ask(stream, OURS, other)
    stream.machine.features.errors = True
    assert tongue.may_ask(stream, OURS, other)
    stream.role = StreamRole.S2S_IN
    assert not tongue.may_ask(stream, OURS, THEIRS)
