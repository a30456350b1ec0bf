"""Attributes and echo between the independent implementation and a real router."""

from __future__ import annotations

import asyncio
from dataclasses import replace

import pytest

from imxrouter.model.address import Address
from imxrouter.model.presence import Basic
from tests.doubles.router_rig import Lab
from tests.independent import codec as c
from tests.independent import operations as o
from tests.independent.rig import (
    ALICE,
    AT_A,
    AT_B,
    BOB,
    HER,
    Theirs,
    running,
    until,
    watched,
)
from tests.independent.router import FAILURE, SUCCESS, Answer, Outcome, message


@pytest.fixture
def theirs(lab: Lab) -> Theirs:
    """Serves b.example."""
    return Theirs(lab)


def test_we_ask_for_attributes(theirs: Theirs) -> None:
    """Of their domain and of bob; what does not exist is left out."""

    async def story() -> None:
        async with running(theirs) as ours:

            async def ask(owner: bytes, *names: bytes, body: bytes = b"") -> tuple[str, dict[bytes, bytes]]:
                asked = replace(o.attributes(ALICE, owner, names), body=body)
                answer = await ours.router.exchange(asked)
                return answer.reason, {name: value for name, value, _ in o.read_values(answer.content)}

            reason, all_of_them = await ask(AT_B)
            assert reason == "none"
            assert set(all_of_them) <= o.GLOBAL_KEYS["domain"]
            some = {b"subscription-lifetime": b"1800", b"answer-timeout": b"30"}
            assert some.items() <= all_of_them.items()
            assert await ask(AT_B, *some, b"nope", b"b.example/nope") == ("none", some)
            assert (await ask(AT_B, *[b"x%d" % number for number in range(64)])) == ("none", {})
            for names in ([b"x%d" % number for number in range(65)], [b"Alias"], [b""], [b"x" * 256]):
                assert await ask(AT_B, *names) == ("bad-record", {})
            assert await ask(AT_B, body=b"x") == ("bad-body", {})
            theirs.publish(Basic.OPEN)
            assert await ask(b"nobody@b.example", b"presence") == ("not-delivered", {})
            theirs.allow()
            reason, (shown) = await ask(BOB, b"presence")
            assert o.entity(shown[b"presence"]) == BOB
            assert o.basic(shown[b"presence"]) == "open"

    asyncio.run(story())


def test_they_ask_for_attributes_and_take_unsolicited_ones(theirs: Theirs) -> None:
    """Asked by name; and with a notification, where one that is none is passed over."""

    async def story() -> None:
        async with running(theirs) as ours:
            ours.attributes = {
                o.key(AT_A): [(b"subscription-lifetime", b"600", 60)],
                o.key(ALICE): [(b"alias", "Älice".encode(), 60), (b"a.example/mood", b"fine", 60)],
            }
            asked = await theirs.ask(HER, "alias", "a.example/mood", "nope")
            assert asked == {"alias": "Älice".encode(), "a.example/mood": b"fine"}
            asked = await theirs.ask(Address.parse("a.example"), "subscription-lifetime")
            assert asked == {"subscription-lifetime": b"600"}
            one = await watched(theirs, ours)
            await until(lambda: theirs.knows("alias") == "Älice".encode())
            told = o.Told(one.ident, (o.ACTIVE, 0), (ours.epoch, 9), o.document(ALICE, "closed"))
            extra = [(c.ATTRIBUTE, b"\0"), (c.ATTRIBUTE, o.u32(60) + b"alias\0Al")]
            record = o.notify(ALICE, BOB, told)
            record = replace(record, fields=(*record.fields, *extra))
            assert await ours.router.request(record) == (SUCCESS, "none")
            assert theirs.sees() is Basic.CLOSED
            assert theirs.knows("alias") == b"Al"

    asyncio.run(story())


def test_attributes_ride_along_with_messages(theirs: Theirs) -> None:
    """Each side takes the other one's, and gives its own."""

    async def story() -> None:
        async with running(theirs) as ours:
            got: list[c.Record] = []

            async def keep(record: c.Record) -> Outcome:
                got.append(record)
                return SUCCESS, "none"

            ours.router.deliver = keep
            spoken = replace(
                message("alice@a.example", "bob@b.example", "hello"),
                fields=((c.ATTRIBUTE, o.u32(60) + b"alias\0Alice"), (c.ATTRIBUTE, b"none")),
            )
            assert await ours.router.request(spoken) == (SUCCESS, "none")
            assert theirs.knows("alias") == b"Alice"
            theirs.set_alias("Bob")
            theirs.rig.send("bob@b.example", "alice@a.example", "hello")
            await until(lambda: got)
            ((name, value, keep_s),) = o.read_unsolicited(got[0])
            assert (name, value, keep_s) == (b"alias", b"Bob", 60)
            theirs.allow()
            _, bob = await ours.follow(ALICE, BOB, 600)
            await until(lambda: bob.attributes)
            assert bob.attributes == {b"alias": b"Bob"}

    asyncio.run(story())


def test_echo(theirs: Theirs) -> None:
    """What came goes back, within its size, of a domain only, ten at once."""

    async def story() -> None:
        async with running(theirs) as ours:

            async def echo(body: bytes, to: bytes = AT_B) -> Answer:
                return await ours.router.exchange(o.request(c.ECHO, to, ALICE, body=body))

            for body in (b"", b"hello", bytes(1024)):
                answer = await echo(body)
                assert (answer.outcome, answer.content) == ((SUCCESS, "none"), body)
            assert (await echo(bytes(1025))).outcome == (FAILURE, "too-large")
            assert (await echo(b"", BOB)).outcome == (FAILURE, "bad-address")
            answers = [await echo(b"x") for _ in range(8)]
            assert [answer.reason for answer in answers] == ["none"] * 7 + ["rate-limited"]
            assert answers[-1].retry_after_s == 5

    asyncio.run(story())
