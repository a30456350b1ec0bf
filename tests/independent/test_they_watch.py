"""A user of a real router watches one of the independent implementation."""

from __future__ import annotations

import asyncio
from dataclasses import replace

import pytest

from imxrouter.model.operations import (
    SubscriptionState,
)
from imxrouter.model.presence import Basic, Unknown
from imxrouter.routing import subscriptions
from imxrouter.transport import liveness
from tests.doubles.router_rig import Lab
from tests.independent import codec as c
from tests.independent import operations as o
from tests.independent.rig import (
    ALICE,
    AT_A,
    BOB,
    A,
    B,
    Theirs,
    running,
    until,
    watched,
)
from tests.independent.router import FAILURE, SUCCESS, Answer


@pytest.fixture
def theirs(lab: Lab) -> Theirs:
    """Serves b.example."""
    return Theirs(lab)


def test_they_wait_for_a_decision_and_see_changes(theirs: Theirs) -> None:
    """Pending shows nothing; the decision is a notification; then each change."""

    async def story() -> None:
        async with running(theirs) as ours:
            one = await watched(theirs, ours, "")
            await until(lambda: theirs.state() is SubscriptionState.PENDING)
            assert theirs.sees() is None
            assert one.answers == []
            ours.decide(BOB, ALICE, "allow")
            await until(lambda: theirs.sees() is Basic.OPEN)
            ours.publish(ALICE, "closed")
            await until(lambda: theirs.sees() is Basic.CLOSED)
            theirs.unwatch()
            await until(lambda: not ours.watched)
            assert set(one.answers) == {"none"}

    asyncio.run(story())


def test_who_hides_is_closed_to_them(theirs: Theirs) -> None:
    """Active, and no change is seen."""

    async def story() -> None:
        async with running(theirs) as ours:
            one = await watched(theirs, ours, "hide")
            await until(lambda: theirs.sees() is Basic.CLOSED)
            assert theirs.state() is SubscriptionState.ACTIVE
            ours.publish(ALICE, "open")
            await until(lambda: len(one.answers) == 2)
            assert theirs.sees() is Basic.CLOSED

    asyncio.run(story())


def test_they_renew_in_time(theirs: Theirs) -> None:
    """Not before half of what was granted, with the same id."""

    async def story() -> None:
        async with running(theirs) as ours:
            ours.lifetime_s = 1
            one = await watched(theirs, ours)
            begun, first = ours.now, one.until
            await until(lambda: any(again.until > first for again in ours.watched.values()))
            assert ours.now - begun > 0.4
            assert [again.ident for again in ours.watched.values()] == [one.ident]
            theirs.unwatch()
            await until(lambda: not ours.watched)

    asyncio.run(story())


def test_newest_wins_across_epochs(theirs: Theirs) -> None:
    """Older and equal versions are answered with success and change nothing; unknown ends by no older one."""

    async def story() -> None:
        async with running(theirs) as ours:
            one = await watched(theirs, ours)
            await until(lambda: theirs.sees() is Basic.OPEN)
            epoch, number = ours.epoch, ours.count

            async def tell(version: o.Version, status: str) -> object:
                told = o.Told(one.ident, (o.ACTIVE, 0), version, o.document(ALICE, status))
                answer = await ours.router.exchange(o.notify(ALICE, BOB, told))
                assert answer.outcome == (SUCCESS, "none")
                return theirs.sees()

            assert await tell((epoch, number), "closed") is Basic.OPEN
            assert await tell((epoch - 1, number + 9), "closed") is Basic.OPEN
            assert await tell((epoch, number + 5), "closed") is Basic.CLOSED
            assert await tell((epoch, number + 4), "open") is Basic.CLOSED
            assert await tell((epoch + 1, 0), "open") is Basic.OPEN
            assert await tell((epoch, number + 6), "closed") is Basic.OPEN
            assert (await ours.say_unknown(one, "service-down")).outcome == (SUCCESS, "none")
            shown = theirs.sees()
            assert isinstance(shown, Unknown)
            assert (shown.reason.word, str(shown.domain)) == ("service-down", "a.example")
            assert isinstance(await tell((epoch, number + 7), "closed"), Unknown)
            assert await tell((epoch + 1, 0), "open") is Basic.OPEN

    asyncio.run(story())


def test_another_proved_connection_tells(theirs: Theirs) -> None:
    """Over each link that may carry alice to bob, whichever brought the SUBSCRIBE."""

    async def story() -> None:
        async with running(theirs) as ours:
            one = await watched(theirs, ours)
            await until(lambda: theirs.sees() is Basic.OPEN)
            links = [link for link in ours.router.links.values() if (A, B) in link.send_pairs]
            assert {link.opener for link in links} == {True, False}
            for number, link in enumerate(links, 1):
                status = ("open", "closed")[number % 2]
                told = o.Told(one.ident, (o.ACTIVE, 0), (ours.epoch, number), o.document(ALICE, status))
                answer = await ours.router.exchange(o.notify(ALICE, BOB, told), link)
                assert answer.outcome == (SUCCESS, "none")
                assert theirs.sees() is Basic(status)

    asyncio.run(story())


def test_terminated_with_a_reason(theirs: Theirs) -> None:
    """Nothing is taken of it any more; some reasons leave the watcher wanting, to ask again later."""
    goes_on = {
        o.DEACTIVATED: True, o.PROBATION: True, o.REJECTED: False, o.TIMEOUT: True, o.GIVE_UP: True,
        o.NO_RESOURCE: False, o.INVARIANT: False, o.NO_REASON: True, 200: True,
    }  # fmt: skip

    async def story() -> None:
        async with running(theirs) as ours:
            for reason, is_wanted in goes_on.items():
                one = await watched(theirs, ours)
                await until(lambda: theirs.sees() is Basic.OPEN)
                word = o.notify(ALICE, BOB, o.Told(one.ident, (o.TERMINATED, reason)))
                assert await ours.router.request(word) == (SUCCESS, "none")
                assert theirs.is_wanted() is is_wanted
                assert theirs.state() is None
                late = o.Told(one.ident, (o.ACTIVE, 0), (ours.epoch, 9), o.document(ALICE, "closed"))
                told = await ours.router.request(o.notify(ALICE, BOB, late))
                assert told == (FAILURE, "not-subscribed")
                ours.watched.clear()
                theirs.unwatch()

    asyncio.run(story())


def test_what_comes_too_late(theirs: Theirs, monkeypatch: pytest.MonkeyPatch) -> None:
    """The router takes what is late for a while after the end, and no longer, whoever still waits for it."""
    monkeypatch.setattr(subscriptions, "LATE_S", 0.3)
    asked: list[bytes] = []

    async def grant(record: c.Record) -> Answer:
        asked.append(o.read_subscribe(record)[0])
        return Answer(SUCCESS, fields=o.granted(o.TERMINATED, 0))

    async def story() -> None:
        async with running(theirs) as ours:
            ours.router.handlers[c.SUBSCRIBE] = grant
            for pause_s, reason in ((0.0, "none"), (0.5, "not-subscribed")):
                asked.clear()
                theirs.fetch()
                await until(lambda: asked)
                await asyncio.sleep(pause_s)
                standing = (o.TERMINATED, o.TIMEOUT)
                told = o.Told(asked[0], standing, (ours.epoch, 1), o.document(ALICE, "open"))
                assert (await ours.router.request(o.notify(ALICE, BOB, told)))[1] == reason

    asyncio.run(story())


def test_what_nobody_asked_for_and_too_much(theirs: Theirs) -> None:
    """Another id, watcher or presentity is not subscribed; twenty at once, then a second each."""

    async def story() -> None:
        async with running(theirs) as ours:
            one = await watched(theirs, ours)
            await until(lambda: one.answers == ["none"])
            told = o.Told(one.ident, (o.ACTIVE, 0), (ours.epoch, 1), o.document(ALICE, "open"))
            strange = [
                o.notify(ALICE, BOB, replace(told, ident=b"another")),
                o.notify(ALICE, b"carol@b.example", told),
                o.notify(b"eve@a.example", BOB, replace(told, document=o.document(b"eve@a.example", "open"))),
            ]
            for record in strange:
                assert await ours.router.request(record) == (FAILURE, "not-subscribed")
            burst = [o.notify(ALICE, BOB, replace(told, version=(ours.epoch, 2 + n))) for n in range(24)]
            answers = await asyncio.gather(*map(ours.router.exchange, burst))
            reasons = [answer.reason for answer in answers]
            assert reasons[:19] == ["none"] * 19  # the first of the twenty was what they got at the beginning
            assert reasons[-3:] == ["rate-limited"] * 3
            assert answers[-1].retry_after_s == 5

    asyncio.run(story())


def test_notifications_are_refused_by_name(theirs: Theirs) -> None:
    """What is missing or of the wrong size, a document of somebody else, and a router's word that is none."""

    async def story() -> None:
        async with running(theirs) as ours:
            one = await watched(theirs, ours)
            await until(lambda: one.answers == ["none"])
            ident, state = (c.SUBSCRIPTION_ID, one.ident), (c.SUBSCRIPTION_STATE, b"\1\0")
            newest = (c.VERSION, b"\xff" * 16)
            good, other = o.document(ALICE, "closed"), o.document(b"eve@a.example", "closed")
            unknown, of = (c.UNKNOWN, b"\0\x2ca.example"), (c.PRESENTITY, ALICE)
            faults: list[tuple[str, bytes, list[tuple[int, bytes]], bytes]] = [
                ("bad-record", ALICE, [state], b""),
                ("bad-record", ALICE, [ident], b""),
                ("bad-record", ALICE, [ident, (c.SUBSCRIPTION_STATE, b"\3\0")], b""),
                ("bad-record", ALICE, [ident, (c.SUBSCRIPTION_STATE, b"\1")], b""),
                ("bad-record", ALICE, [ident, state], good),
                ("bad-record", ALICE, [ident, state, (c.VERSION, bytes(15))], good),
                ("bad-record", ALICE, [ident, state, newest, (c.DURATION, b"\1")], good),
                ("bad-body", ALICE, [ident, state, newest], other),
                ("bad-body", ALICE, [ident, state, newest], good.replace(b"pres:", b"")),
                ("bad-body", ALICE, [ident, state, newest], b"closed"),
                ("bad-body", ALICE, [ident, state, newest, (c.CONTENT_TYPE, b"text/plain")], good),
                ("bad-record", AT_A, [ident, state, unknown], b""),
                ("bad-record", AT_A, [ident, state, of], b""),
                ("bad-record", ALICE, [ident, state, unknown, of], b""),
                ("bad-record", AT_A, [ident, state, unknown, of], good),
                ("bad-record", AT_A, [ident, state, unknown, (c.PRESENTITY, b"eve@m.example")], b""),
                ("bad-record", AT_A, [ident, (c.SUBSCRIPTION_STATE, b"\2\0"), unknown, of], b""),
            ]
            for reason, sender, fields, body in faults:
                told = await ours.router.request(o.request(c.NOTIFY, BOB, sender, *fields, body=body))
                assert told == (FAILURE, reason), (sender, fields, body)
            assert theirs.sees() is Basic.OPEN
            with_more = (ident, state, newest, (c.CONTENT_TYPE, b"application/pidf+xml; charset=utf-8"))
            told = await ours.router.request(o.request(c.NOTIFY, BOB, ALICE, *with_more, body=good))
            assert told == (SUCCESS, "none")
            assert theirs.sees() is Basic.CLOSED

    asyncio.run(story())


def test_our_domain_vanishes_and_comes_back(theirs: Theirs, monkeypatch: pytest.MonkeyPatch) -> None:
    """Bob sees *unknown* with our domain's name, and the state again once we are back, under the same id."""
    monkeypatch.setattr(liveness, "GRACE_S", 0.2)
    monkeypatch.setattr(liveness, "SPREAD_S", 0.2)

    async def story() -> None:
        async with running(theirs) as ours:
            port = ours.router.server.sockets[0].getsockname()[1]
            one = await watched(theirs, ours)
            await until(lambda: theirs.sees() is Basic.OPEN)
        await until(lambda: isinstance(theirs.sees(), Unknown))
        shown = theirs.sees()
        assert isinstance(shown, Unknown)
        assert str(shown.domain) == "a.example"
        async with running(theirs, port) as ours:
            ours.wishes[o.key(BOB), o.key(ALICE)] = "allow"
            await until(lambda: theirs.sees() is Basic.OPEN)
            assert [again.ident for again in ours.watched.values()] == [one.ident]

    asyncio.run(story())
