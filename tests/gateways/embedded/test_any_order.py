"""Whatever users do and whatever fails, in any order: nobody sees too much, and all is right in the end."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from hypothesis import example, given, settings
from hypothesis import strategies as st

from imxrouter.gateways.embedded.contacts import Contact
from imxrouter.gateways.embedded.service import EmbeddedService
from imxrouter.gateways.embedded.settings import PRESENCE_RIGHTS
from imxrouter.model.operations import DEFAULT_SUBSCRIPTION_S, Notify, Operation, SubscriptionState
from imxrouter.model.presence import Presence, offline, same_meaning
from imxrouter.routing.interfaces import Answer
from imxrouter.routing.rules import Decision, Detail, Right
from imxrouter.store.memory import MemoryStore
from tests.gateways.embedded.rigs import World, at, state

ALICE, BOB = at("alice@a.example"), at("bob@b.example")
#: Longer than the longest pause between two tries of either side.
SETTLED_S = 900

decisions = st.sampled_from([Decision.ALLOW, Decision.REFUSE, Decision.BLOCK])
steps = st.one_of(
    st.tuples(
        st.just("publish"), st.sampled_from(["desk", "phone"]), st.sampled_from(["open", "closed"]),
        st.sampled_from([(), ("group:friends",)]), st.sampled_from([5, 5_000]),
    ),
    st.tuples(st.just("retract"), st.sampled_from(["desk", "phone"])),
    st.tuples(st.just("decide"), decisions),
    st.tuples(st.just("rule"), st.sampled_from(["*", "b.example"]), st.sampled_from(list(Decision)),
              st.sampled_from(list(Detail))),
    st.tuples(st.just("contact"), st.sampled_from([frozenset[str](), frozenset({"friends"})])),
    st.tuples(st.just("pass"), st.sampled_from([1, 7, 70])),
    st.tuples(st.sampled_from(["cut", "restart"]), st.sampled_from("ab")),
    *(
        st.tuples(st.just(word))
        for word in ("withdraw", "no rules", "subscribe", "unsubscribe", "heal")
    ),
)  # fmt: skip


#: Alice takes her word back while Bob's side is away, for longer than she tries to tell it.
AN_END_THAT_IS_NOT_HEARD: list[tuple[Any, ...]] = [
    ("subscribe",), ("decide", Decision.ALLOW), ("cut", "b"),
    *[("publish", "desk", "open", (), 5)] * 5, ("withdraw",), ("pass", 70),
]  # fmt: skip


class Watched(World):
    """Looks at each notification when it is sent."""

    def __init__(self) -> None:
        super().__init__()
        self.stores = {name: MemoryStore(self.wall) for name in "ab"}
        self.a = self.service("a.example", ["alice"], store=self.stores["a"])
        self.b = self.service("b.example", ["bob"], store=self.stores["b"])

    def _submit(self, operation: Operation, answer: Answer) -> None:
        if isinstance(operation, Notify) and isinstance(operation.presence, Presence):
            ruling = self.may(Right.SUBSCRIBE)
            if ruling is not Decision.ALLOW:
                assert operation.presence == offline(ALICE)
                assert ruling is Decision.BLOCK
        super()._submit(operation, answer)

    def may(self, right: Right) -> Decision:
        """What is decided on Bob now."""
        account = self.a._register.account(ALICE)
        return account.ruling(self.a._register.person(account, BOB), right).decision

    def truth(self) -> Presence:
        """What Bob may see now."""
        account = self.a._register.account(ALICE)
        return account.state_for(self.a._register.person(account, BOB), Right.SUBSCRIBE)

    def restart(self, which: str) -> None:
        """Away for two seconds, and again there."""
        old: EmbeddedService = getattr(self, which)
        self.stop(old)
        self.pass_time(2)
        user = "alice" if which == "a" else "bob"
        setattr(self, which, self.service(f"{which}.example", [user], store=self.stores[which]))

    def do(self, step: tuple[Any, ...]) -> None:
        """One step: a word, and what belongs to it."""
        word, *rest = step
        a, b = self.a, self.b
        doing: dict[str, Callable[..., object]] = {
            "publish": self.publish,
            "retract": lambda name: a.retract(ALICE, name),
            "decide": lambda decision: a.decide(ALICE, BOB, decision),
            "withdraw": lambda: a.withdraw(ALICE, BOB),
            "rule": lambda who, *what: a.set_rule(ALICE, who, PRESENCE_RIGHTS, *what),
            "no rules": lambda: [a.remove_rule(ALICE, who, PRESENCE_RIGHTS) for who in ("*", "b.example")],
            "contact": lambda groups: a.set_contact(ALICE, Contact(BOB, groups=groups)),
            "pass": self.pass_time,
            "subscribe": lambda: b.subscribe(BOB, ALICE),
            "unsubscribe": lambda: b.unsubscribe(BOB, ALICE),
            "heal": self.cut.clear,
            "cut": lambda which: self.cut.add(f"{which}.example"),
            "restart": self.restart,
        }
        doing[word](*rest)

    def publish(self, name: str, status: str, audience: tuple[str, ...], seconds: int) -> None:
        """With words that nobody said before."""
        self.a.publish(ALICE, name, state(status, f"{name} {self.now}"), expires_s=seconds, audience=audience)


@settings(max_examples=40)
@given(st.lists(steps, max_size=25), st.booleans())
@example(taken=AN_END_THAT_IS_NOT_HEARD, settle_between=True)
def test_right_in_the_end(taken: list[tuple[Any, ...]], settle_between: bool) -> None:
    """Bob has what Alice's rules let him see, in the state that they say, or no subscription."""
    world = Watched()
    for step in taken:
        world.do(step)
        if settle_between:
            world.run()
    world.cut.clear()
    world.pass_time(SETTLED_S, step=3)
    # An end that could not be told for 30 s is learned by the next renewal; a router would make that at once.
    world.pass_time(DEFAULT_SUBSCRIPTION_S - SETTLED_S, step=20)
    followed = world.b.subscription(BOB, ALICE)
    if followed is None:
        world.pass_time(DEFAULT_SUBSCRIPTION_S, step=20)  # where its end could not be told, it expires
        assert world.a.watchers(ALICE) == ()
        return
    (watcher,) = world.a.watchers(ALICE)
    assert watcher.state is followed.standing.state
    decision = world.may(Right.SUBSCRIBE)
    assert decision is not Decision.REFUSE
    if decision is Decision.ASK:
        assert watcher.state is SubscriptionState.PENDING
    else:
        assert watcher.state is SubscriptionState.ACTIVE
        assert isinstance(followed.presence, Presence)
        assert same_meaning(followed.presence, world.truth())


def test_the_steps_reach_what_they_should() -> None:
    """A plain day: each end that the test above looks at is there."""
    world = Watched()
    for step in (
        ("subscribe",),
        ("pass", 1),
        ("decide", Decision.ALLOW),
        ("publish", "desk", "open", (), 5_000),
    ):
        world.do(step)
    world.pass_time(5)
    followed = world.b.subscription(BOB, ALICE)
    assert followed is not None
    assert isinstance(followed.presence, Presence)
    assert followed.presence.status.value == "open"
    world.do(("decide", Decision.REFUSE))
    world.pass_time(5)
    assert world.b.subscription(BOB, ALICE) is None
