"""The independent implementation watches a user of a real router."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from functools import partial

import pytest

from imxrouter.model.operations import (
    Notify,
    SubscribeResult,
    SubscriptionState,
    Version,
)
from imxrouter.model.outcome import SUCCESS as TAKEN
from imxrouter.model.presence import Basic, PresenceTuple
from imxrouter.model.presence import Presence as TheirPresence
from imxrouter.routing.rules import Decision
from imxrouter.transport import liveness
from imxrouter.transport.operations import operation_to_record, with_result
from imxrouter.wire.record import Envelope, Record, response_to
from tests.doubles.raw_peer import RawPeer
from tests.doubles.router_rig import Lab, login_key, service_table
from tests.independent import codec as c
from tests.independent import operations as o
from tests.independent.rig import (
    ALICE,
    BOB,
    HER,
    HIM,
    SETTINGS,
    A,
    B,
    Theirs,
    new_id,
    running,
    until,
)
from tests.independent.router import FAILURE, SUCCESS, Answer, Outcome


@pytest.fixture
def theirs(lab: Lab) -> Theirs:
    """Serves b.example."""
    return Theirs(lab)


def standing(answer: Answer) -> tuple[Outcome, bytes | None, bytes | None]:
    """Outcome, state and duration of an answer to SUBSCRIBE."""
    return answer.outcome, answer.first(c.SUBSCRIPTION_STATE), answer.first(c.DURATION)


def success(state: int, duration_s: int) -> tuple[Outcome, bytes, bytes]:
    """What `standing` of a success is."""
    return (SUCCESS, "none"), bytes((state, 0)), o.u32(duration_s)


def test_begin_renew_change_end(theirs: Theirs) -> None:
    """Each request that is granted is followed by the whole state; an end is followed by nothing."""

    async def story() -> None:
        theirs.allow()
        theirs.publish(Basic.OPEN)
        async with running(theirs) as ours:
            answer, bob = await ours.follow(ALICE, BOB, 600)
            assert standing(answer) == success(o.ACTIVE, 600)
            await until(lambda: bob.status == "open")
            theirs.publish(Basic.CLOSED)
            await until(lambda: bob.status == "closed")
            told = len(bob.heard)
            assert standing(await ours.subscribe(bob, 100_000)) == success(o.ACTIVE, 1800)
            await until(lambda: len(bob.heard) > told)
            versions = [one.version or (0, 0) for one in bob.heard]
            assert versions == sorted(versions)
            assert {one.standing for one in bob.heard} == {(o.ACTIVE, o.NO_REASON)}
            spelled = o.subscribe(b"ALICE@a.example", b"Bob@b.example", bob.ident, 200)
            assert standing(await ours.router.exchange(spelled)) == success(o.ACTIVE, 200)
            assert theirs.watchers() == 1
            await until(lambda: len(bob.heard) > told + 1)
            told = len(bob.heard)
            assert standing(await ours.end(bob)) == success(o.TERMINATED, 0)
            assert theirs.watchers() == 0
            theirs.publish(Basic.OPEN)
            answer, again = await ours.follow(ALICE, BOB, 600, ident=bob.ident)
            assert standing(answer) == success(o.ACTIVE, 600)
            await until(lambda: again.status == "open")
            assert len(bob.heard) == told
            await ours.end(again)

    asyncio.run(story())


def test_fetch(theirs: Theirs) -> None:
    """One notification and no subscription; none where the presentity has not decided."""

    async def story() -> None:
        theirs.publish(Basic.OPEN)
        async with running(theirs) as ours:
            answer, bob = await ours.fetch(ALICE, BOB, b"one")
            assert standing(answer) == success(o.PENDING, 0)
            theirs.allow()
            answer, again = await ours.fetch(ALICE, BOB, b"two")
            assert standing(answer) == success(o.TERMINATED, 0)
            await until(lambda: again.heard)
            assert again.state == (o.TERMINATED, o.TIMEOUT)
            assert again.status == "open"
            theirs.publish(Basic.CLOSED)
            assert theirs.watchers() == 0
            answer, last = await ours.fetch(ALICE, BOB, b"two")
            await until(lambda: last.status == "closed")
            assert (bob.heard, len(again.heard), len(last.heard)) == ([], 1, 1)

    asyncio.run(story())


def test_pending_approved_rejected(theirs: Theirs) -> None:
    """A decision is told; after a refusal the same watcher has no subscription."""

    async def story() -> None:
        theirs.publish(Basic.OPEN)
        async with running(theirs) as ours:
            answer, bob = await ours.follow(ALICE, BOB, 600)
            assert standing(answer) == success(o.PENDING, 600)
            theirs.decide(Decision.ALLOW)
            await until(lambda: bob.state == (o.ACTIVE, o.NO_REASON))
            assert (len(bob.heard), bob.status) == (1, "open")
            theirs.decide(Decision.REFUSE)
            await until(lambda: bob.state == (o.TERMINATED, o.REJECTED))
            assert bob.heard[-1].version is None
            answer, _ = await ours.follow(ALICE, BOB, 600)
            assert standing(answer) == ((FAILURE, "not-delivered"), None, None)

    asyncio.run(story())


def test_who_is_blocked_sees_one_who_is_offline(theirs: Theirs) -> None:
    """Answer and notification have the same fields; no change is told."""

    async def story() -> None:
        async with running(theirs) as ours:
            told = []
            for decision, status in ((Decision.ALLOW, Basic.CLOSED), (Decision.BLOCK, Basic.OPEN)):
                theirs.decide(decision)
                theirs.publish(status)
                answer, bob = await ours.follow(ALICE, BOB, 600)
                await until(partial(bool, bob.heard))
                (first,) = bob.heard
                told.append((standing(answer), answer.fields, first.standing, first.duration_s, bob.status))
                await ours.end(bob)
            assert told[0] == told[1]
            blocked, _ = await ours.fetch(ALICE, BOB, b"once")
            assert standing(blocked) == success(o.TERMINATED, 0)

    asyncio.run(story())


def test_a_subscription_expires(theirs: Theirs) -> None:
    """Renewed it goes on; without a renewal it ends after its time, and that is told."""

    async def story() -> None:
        theirs.allow()
        async with running(theirs) as ours:
            answer, bob = await ours.follow(ALICE, BOB, 1)
            assert standing(answer) == success(o.ACTIVE, 1)
            await until(lambda: bob.renewals > 1)
            assert theirs.watchers() == 1
            assert bob.timer is not None
            bob.timer.cancel()
            await until(lambda: bob.state == (o.TERMINATED, o.TIMEOUT))
            assert theirs.watchers() == 0

    asyncio.run(story())


def test_subscriptions_are_refused_by_name(theirs: Theirs) -> None:
    """What is missing, of the wrong size, or of nobody."""

    async def story() -> None:
        async with running(theirs) as ours:
            good = o.subscribe(ALICE, BOB, b"x", 60)
            ident, duration = good.fields
            faults: list[tuple[str, tuple[tuple[int, bytes], ...], bytes]] = [
                ("bad-record", (ident,), b""),
                ("bad-record", (duration,), b""),
                ("bad-record", ((c.SUBSCRIPTION_ID, b""), duration), b""),
                ("bad-record", ((c.SUBSCRIPTION_ID, bytes(41)), duration), b""),
                ("bad-record", (ident, (c.DURATION, bytes(5))), b""),
                ("unknown-critical-field", (ident, duration, (0xFF00, b"")), b""),
                ("bad-body", (ident, duration), b"x"),
            ]
            for reason, fields, body in faults:
                wrong = replace(good, message_id=new_id(), fields=fields, body=body)
                assert await ours.router.request(wrong) == (FAILURE, reason)
            for nobody_there in (b"nobody@b.example", b"@b.example"):
                told = await ours.router.request(o.subscribe(ALICE, nobody_there, b"x", 60))
                assert told == (FAILURE, "not-delivered")
            assert theirs.watchers() == 0

    asyncio.run(story())


def test_another_link_and_another_life(theirs: Theirs, monkeypatch: pytest.MonkeyPatch) -> None:
    """The SUBSCRIBE's link is closed: another one carries what follows. A new life is newer than the old."""
    monkeypatch.setattr(liveness, "SPREAD_S", 0.2)

    async def story() -> None:
        theirs.allow()
        theirs.publish(Basic.OPEN)
        async with running(theirs) as ours:
            ours.spread_s = 0.2
            _, bob = await ours.follow(ALICE, BOB, 600)
            await until(lambda: bob.status == "open")
            links = [link for link in ours.router.links.values() if (A, B) in link.send_pairs]
            (first,) = [link for link in links if link.opener]
            first.close("idle")
            await first.gone.wait()
            theirs.publish(Basic.CLOSED)
            await until(lambda: bob.status == "closed")
            before = bob.version
            theirs.restart()
            theirs.publish(Basic.OPEN)
            await until(lambda: bob.status == "open")
            assert before is not None
            assert bob.version is not None
            assert bob.version[0] > before[0]
            assert theirs.watchers() == 1
            await ours.end(bob)

    asyncio.run(story())


def test_their_service_is_gone(lab: Lab, monkeypatch: pytest.MonkeyPatch) -> None:
    """The router says so itself, with its reason and its domain; the service's next word ends it."""
    monkeypatch.setattr(liveness, "GRACE_S", 0.2)
    key = login_key(1)
    tables = service_table("own", key, "b.example", types=("0x0101", "0x0102"))
    settings = {**SETTINGS, "lab": True}
    theirs = Theirs(lab, embedded=False, tables=tables, settings=settings)

    def service() -> RawPeer:
        peer = RawPeer.connect(theirs.rig.endpoint)
        peer.hello()
        assert peer.log_in(key) == 0
        return peer

    def grant(peer: RawPeer) -> None:
        asked = peer.request()
        said = replace(TAKEN, result=SubscribeResult(SubscriptionState.ACTIVE, 600))
        peer.send(with_result(response_to(asked, TAKEN), said))

    async def story() -> None:
        first = service()
        async with running(theirs) as ours:
            following = asyncio.create_task(ours.follow(ALICE, BOB, 600))
            await asyncio.to_thread(grant, first)
            answer, bob = await following
            assert standing(answer) == success(o.ACTIVE, 600)
            first.close()
            await until(lambda: bob.unknown)
            assert bob.unknown == (44, B)  # service-down
            (told,) = bob.heard
            assert (told.presentity, told.version, told.standing[0]) == (BOB, None, o.ACTIVE)
            second = service()
            shown = TheirPresence(HIM, (PresenceTuple("t1", Basic.OPEN),))
            state = SubscriptionState.ACTIVE
            word = Notify(HIM, HER, new_id(), bob.ident, state, Version(1, 1), shown)
            second.send(replace(operation_to_record(word), flags=c.WANTED, route_tag=1))
            await until(lambda: bob.status == "open" and bob.unknown is None)
            assert (await asyncio.to_thread(second.response)).body == c.outcome(SUCCESS)
            envelope = Envelope(b"", A, b"carol", B)
            second.send(Record(c.ECHO, c.WANTED, 110, 2, new_id(), envelope, (), b"are you there"))
            answer_back = await asyncio.to_thread(second.response)
            assert answer_back.body == c.outcome(SUCCESS) + b"are you there"
            second.close()

    asyncio.run(story())
