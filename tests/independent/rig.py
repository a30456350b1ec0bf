"""A real router with a user, and an independent one that federates with it, for the tests of presence."""

from __future__ import annotations

import asyncio
import contextlib
import secrets
from collections.abc import AsyncIterator, Callable
from typing import Any

from imxrouter.gateways.embedded.attributes import OwnAttribute
from imxrouter.gateways.embedded.service import EmbeddedService
from imxrouter.model.address import Address
from imxrouter.model.operations import (
    Attribute,
    AttributeValues,
    SubscriptionState,
)
from imxrouter.model.outcome import Outcome as TheirOutcome
from imxrouter.model.presence import Basic, PresenceTuple
from imxrouter.model.presence import Presence as TheirPresence
from imxrouter.routing.rules import Decision, Right
from tests.doubles.router_rig import Lab
from tests.independent import codec as c
from tests.independent import operations as o
from tests.independent.presence import Presence, Watched
from tests.independent.router import SUCCESS, Outcome, Router

A, B = b"a.example", b"b.example"
AT_A, AT_B, ALICE, BOB = b"@" + A, b"@" + B, b"alice@" + A, b"bob@" + B
HER, HIM = Address.parse("alice@a.example"), Address.parse("bob@b.example")
PATIENCE_S = 15.0
SETTINGS = {"limits.sender_burst": 1000, "dialback.claim_timeout_s": 1.0}


def new_id() -> bytes:
    """A message id."""
    return secrets.token_bytes(16)


async def until(true: Callable[[], object]) -> None:
    """Wait until something holds."""
    async with asyncio.timeout(PATIENCE_S):
        while not true():  # noqa: ASYNC110 - what another thread does sets no event here
            await asyncio.sleep(0.01)


class Theirs:
    """A real router with bob, for whom each call speaks."""

    def __init__(self, lab: Lab, **options: Any) -> None:
        self.lab = lab
        self._options: dict[str, Any] = {"users": ("bob",), "settings": SETTINGS, **options}
        self.rig = lab.router("b.example", **self._options)

    def restart(self) -> None:
        """End it, and begin another life with the same state."""
        old = self.rig
        old.stop()
        self.lab.wait_until(lambda: not old.router.running and not old.router.hub.sessions, "the stop")
        settings = {**self._options["settings"], "state_dir": old.router.config.state_dir}
        options = {**self._options, "settings": settings}
        self.rig = self.lab.router("b.example", endpoint=old.endpoint, **options)

    def _call(self, what: Callable[[EmbeddedService], Any]) -> Any:
        def work() -> Any:
            service = self.rig.router.embedded_for(HIM)
            assert service is not None
            return what(service)

        return self.rig.call(work)

    def allow(self) -> None:
        """Everybody may see him."""
        rights = [Right.SUBSCRIBE, Right.FETCH]
        self._call(lambda service: service.set_rule(HIM, "*", rights, Decision.ALLOW))

    def decide(self, decision: Decision) -> None:
        """Alice may see him, or not."""
        self._call(lambda service: service.decide(HIM, HER, decision))

    def publish(self, status: Basic) -> None:
        """He says how he is."""
        state = TheirPresence(HIM, (PresenceTuple("t1", status),))
        self._call(lambda service: service.publish(HIM, "desk", state))

    def watchers(self) -> int:
        """How many watch him."""
        return len(self._call(lambda service: service.watchers(HIM)))

    def watch(self) -> None:
        """He watches alice."""
        self._call(lambda service: service.subscribe(HIM, HER))

    def unwatch(self) -> None:
        """He watches her no more."""
        self._call(lambda service: service.unsubscribe(HIM, HER))

    def fetch(self) -> None:
        """He asks once, and waits."""
        self._call(lambda service: service.fetch(HIM, HER, lambda _: None))

    def sees(self) -> object:
        """What he sees of alice: a status, an unknown, or nothing."""
        followed = self._call(lambda service: service.subscription(HIM, HER))
        presence = None if followed is None else followed.presence
        return presence.status if isinstance(presence, TheirPresence) else presence

    def state(self) -> SubscriptionState | None:
        """How his subscription is."""
        followed = self._call(lambda service: service.subscription(HIM, HER))
        return None if followed is None else followed.standing.state

    def is_wanted(self) -> bool:
        """Whether he still wants to watch her."""
        return self._call(lambda service: service.subscription(HIM, HER)) is not None

    async def ask(self, owner: Address, *names: str) -> dict[str, bytes]:
        """He asks for attributes."""
        outcomes: list[TheirOutcome] = []
        self._call(lambda service: service.query(HIM, owner, names, outcomes.append))
        await until(lambda: outcomes)
        (outcome,) = outcomes
        assert isinstance(outcome.result, AttributeValues), outcome
        return {one.name: one.value for one in outcome.result.attributes}

    def set_alias(self, text: str) -> None:
        """He shows a name to everybody, with what he sends."""
        alias = OwnAttribute(Attribute("alias", text.encode(), 60), along=True)
        self._call(lambda service: service.set_attribute(HIM, alias))

    def knows(self, name: str) -> bytes | None:
        """What he was told of an attribute of alice's."""
        found = self._call(lambda service: service.known(HIM, HER, name))
        return None if found is None else found.value


async def take(_: c.Record) -> Outcome:
    """Take every message."""
    return SUCCESS, "none"


@contextlib.asynccontextmanager
async def running(theirs: Theirs, port: int = 0) -> AsyncIterator[Presence]:
    """An independent router for a.example, with alice."""
    router = Router({A}, {B: [theirs.rig.endpoint]}, take)
    port = await router.listen(port)
    theirs.lab.publish("a.example", ("127.0.0.1", port))
    ours = Presence(router, {ALICE: "open"})
    try:
        yield ours
    finally:
        async with asyncio.timeout(PATIENCE_S):
            await router.stop()


async def watched(theirs: Theirs, ours: Presence, wish: str = "allow") -> Watched:
    """Bob watches alice."""
    if wish:
        ours.wishes[o.key(BOB), o.key(ALICE)] = wish
    theirs.watch()
    await until(lambda: ours.watched)
    (one,) = ours.watched.values()
    return one
