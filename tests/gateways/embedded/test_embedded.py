"""The embedded service: accounts, inboxes, watchers, sending."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from imxrouter.gateways.embedded.directory import Directory, NotAUser
from imxrouter.gateways.embedded.inbox import MAX_WATCHERS, InboxLimits, TooManyWatchers
from imxrouter.gateways.embedded.register import Tools
from imxrouter.gateways.embedded.service import EmbeddedService
from imxrouter.model.address import Address, BadAddress
from imxrouter.model.domain import Domain
from imxrouter.model.operations import Message, Operation
from imxrouter.model.outcome import SUCCESS, Outcome
from imxrouter.model.vocabulary import Reason
from imxrouter.routing.domains import CaseProfile, ServedDomain
from imxrouter.routing.interfaces import Answer, Gateway

A, B, ALIAS = Domain("a.example"), Domain("b.example"), Domain("www.a.example")
SENSITIVE = CaseProfile.SENSITIVE
EVE = Address.parse("eve@e.example")


class Router:
    """Notes what is submitted and answers success."""

    def __init__(self) -> None:
        self.sent: list[Message] = []

    def __call__(self, operation: Operation, answer: Answer) -> None:
        """Route one message."""
        assert isinstance(operation, Message)
        self.sent.append(operation)
        answer(SUCCESS)


USUAL = InboxLimits()


def make(router: Router | None = None, limits: InboxLimits = USUAL) -> EmbeddedService:
    """Alice everywhere, Bob at b.example only."""
    numbers = iter(range(1, 10_000))
    tools = Tools(
        router or Router(), lambda: next(numbers).to_bytes(16, "big"), lambda: 0.0, lambda: 1.7e9,
        lambda: 0.5, lambda call: call(),
    )  # fmt: skip
    service = EmbeddedService(Directory(["alice", "bob@b.example"]), tools, limits=limits)
    service.serve(
        [ServedDomain(A, "home", aliases=(ALIAS,)), ServedDomain(B, "home", case_profile=SENSITIVE)]
    )
    return service


def to(service: EmbeddedService, destination: str, text: str = "hi") -> Outcome:
    """Deliver a text and return the one outcome."""
    outcomes: list[Outcome] = []
    service.deliver(service.compose(EVE, Address.parse(destination), text), outcomes.append)
    (outcome,) = outcomes
    return outcome


def texts(service: EmbeddedService, user: str) -> list[bytes]:
    """What stands in an inbox."""
    return [message.content for message in service.inbox(Address.parse(user))]


def test_it_is_a_gateway() -> None:
    """By the router's interface."""
    gateway: Gateway = make()
    assert gateway.domains() == {A, B, ALIAS}


def test_users_are_found_by_alias_and_spelling() -> None:
    """One account under a domain and its aliases; case counts only where the profile says so."""
    service = make()
    assert to(service, "Alice@www.a.example", "one").ok
    assert to(service, "alice@a.example", "two").ok
    assert texts(service, "ALICE@a.example") == [b"one", b"two"]
    assert to(service, "alice@b.example").ok
    assert to(service, "Alice@b.example").reason is Reason.UNKNOWN_USER
    assert service.directory.users() == sorted([Address("alice", A), Address("alice", B), Address("bob", B)])


@pytest.mark.parametrize("destination", ["bob@a.example", "nobody@a.example", "a.example", "alice@c.example"])
def test_an_unknown_user_is_a_failure(destination: str) -> None:
    """Told to operators by name, to senders like any other refusal of the recipient's side."""
    outcome = to(make(), destination)
    assert (outcome.reason, outcome.decided_role) == (Reason.UNKNOWN_USER, "service")
    assert outcome.decided_by == destination.rpartition("@")[2]
    assert outcome.disclosed().reason is Reason.NOT_DELIVERED


def test_watchers_see_what_comes() -> None:
    """Each until it stops; stopping twice stops nobody else; one that fails keeps nothing from the others."""
    service, seen = make(), list[bytes]()
    alice = Address.parse("alice@a.example")

    def fails(_message: Message) -> None:
        raise ValueError

    service.watch(alice, fails)
    stop = service.watch(alice, lambda message: seen.append(message.content))
    service.watch(alice, lambda message: seen.append(message.content.upper()))
    service.log.failure = lambda *_a, **_k: None  # type: ignore[method-assign]
    assert to(service, "alice@a.example", "a").ok
    stop()
    stop()
    assert to(service, "alice@a.example", "b").ok
    assert seen == [b"a", b"A", b"B"]
    with pytest.raises(NotAUser):
        service.watch(EVE, fails)


def test_watchers_are_bounded() -> None:
    """For each user."""
    service, alice = make(), Address.parse("alice@a.example")
    for _ in range(MAX_WATCHERS):
        service.watch(alice, lambda _message: None)
    with pytest.raises(TooManyWatchers):
        service.watch(alice, lambda _message: None)


@given(st.lists(st.text("x", max_size=30), max_size=20))
def test_an_inbox_is_bounded_and_keeps_the_newest(sent: list[str]) -> None:
    """By count and bytes; the newest stays, however large."""
    service = make(limits=InboxLimits(count=5, size_bytes=40))
    for text in sent:
        assert to(service, "alice@a.example", text).ok
    kept = texts(service, "alice@a.example")
    assert kept == [text.encode() for text in sent][len(sent) - len(kept) :]
    assert len(kept) <= 5
    assert sum(map(len, kept)) <= 40
    assert bool(kept) == bool(sent)


def test_it_sends_for_its_users_only() -> None:
    """With a new id each time."""
    router = Router()
    service = make(router)
    outcomes: list[Outcome] = []
    first = service.send(Address.parse("alice@a.example"), EVE, "hé", outcomes.append)
    service.send(Address.parse("alice@a.example"), EVE, "hé", outcomes.append)
    assert router.sent[0] == first
    assert first.content == "hé".encode()
    assert len({message.message_id for message in router.sent}) == 2
    assert outcomes == [SUCCESS, SUCCESS]
    with pytest.raises(NotAUser):
        service.send(EVE, EVE, "x", outcomes.append)


def test_domains_come_and_go() -> None:
    """Inboxes of users that stay stay; those of others go."""
    service = make()
    to(service, "alice@a.example", "kept")
    to(service, "alice@b.example", "gone")
    service.serve([ServedDomain(A, "home")])
    assert service.domains() == {A}
    assert not service.knows(Address.parse("alice@b.example"))
    assert not service.knows(Address.parse("alice@www.a.example"))
    service.serve([ServedDomain(A, "home"), ServedDomain(B, "home")])
    assert texts(service, "alice@a.example") == [b"kept"]
    assert texts(service, "alice@b.example") == []


def test_a_bad_user_is_refused() -> None:
    """When the directory is made."""
    with pytest.raises(BadAddress):
        Directory(["a b"])
