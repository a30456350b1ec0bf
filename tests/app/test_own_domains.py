"""What routers answer for their domains themselves: echo and attributes, over sockets and by `imxctl`."""

from __future__ import annotations

import re
from dataclasses import replace
from functools import partial
from typing import Any

import pytest

from imxrouter.cli.exits import Exit
from imxrouter.model.address import Address
from imxrouter.model.operations import Attribute, AttributeQuery, AttributeValues, Kind
from imxrouter.model.outcome import SUCCESS, Outcome, failure
from imxrouter.model.vocabulary import Reason
from imxrouter.routing.attribute_asking import Asked
from imxrouter.switch import slots
from imxrouter.transport.operations import query_to_record, result_of
from imxrouter.transport.translate import envelope_of
from imxrouter.wire.attributes import write_values
from imxrouter.wire.fields import Field
from imxrouter.wire.layout import FLAG_RESPONSE_WANTED, OUTCOME_BYTES
from imxrouter.wire.record import Record, decode_outcome, response_to
from imxrouter.wire.registry import FieldType, RecordType
from tests.doubles.ctl import ctl, ctl_json
from tests.doubles.raw_peer import RawPeer, text_message
from tests.doubles.router_rig import Lab, RawOrganisation, RouterRig, login_key, service_table

#: Tables of a domain with everything that it can tell.
RICH = """
[[service]]
name = "home"
kind = "embedded"
users = ["bob"]
[[domain]]
name = "b.example"
service = "home"
subscription_lifetime_s = 900
abuse_contact = "mailto:abuse@b.example"
content_types = ["text/plain", "text/html-lite"]
attributes = { hours = "9-17", motto = "Größe" }
hidden_attributes = ["software", "motto"]
[[domain]]
name = "www.example"
service = "home"
"""
TOLD = {
    "abuse-contact": "mailto:abuse@b.example",
    "answer-timeout": "30",
    "b.example/hours": "9-17",
    "content-types": "text/plain, text/html-lite",
    "duplicate-window": "60",
    "idle-timeout": "300",
    "max-message-size": "16384",
    "subscription-lifetime": "900",
}
NO_NAME, A_NAME = Field(FieldType.ATTRIBUTE_NAME, b"\xff"), Field(FieldType.ATTRIBUTE_NAME, b"x")


def rich(lab: Lab, **options: Any) -> RouterRig:
    """A router that serves b.example and www.example."""
    return lab.router("b.example", "www.example", embedded=False, tables=RICH, **options)


def values(view: Any) -> dict[str, str]:
    """Name -> value of an answer."""
    return {one["name"]: one["value"] for one in view["values"]}


def request(kind: RecordType, source: str, to: str, number: int, **parts: Any) -> Record:
    """A request of a scripted peer."""
    envelope = envelope_of(Address.parse(source), Address.parse(to))
    record = Record(kind, FLAG_RESPONSE_WANTED, 10, number, number.to_bytes(16, "big"), envelope)
    return replace(record, **parts)


def echo(source: str, number: int, body: bytes = b"hello", to: str = "b.example") -> Record:
    """An echo request."""
    return request(RecordType.ECHO, source, to, number, body=body)


def ask(source: str, number: int, *names: str, to: str = "b.example") -> Record:
    """A query of attributes."""
    query = AttributeQuery(Address.parse(source), Address.parse(to), number.to_bytes(16, "big"), names)
    return replace(query_to_record(query), flags=FLAG_RESPONSE_WANTED, route_tag=number)


def response(peer: RawPeer) -> Record:
    """The next response, what comes before it passed over."""
    while not (isinstance(item := peer.next(), Record) and item.is_response):
        assert item is not None, f"the connection ended after {peer.log}"
    return item


def told(record: Record) -> dict[str, str]:
    """Name -> value of a response to a query."""
    result = result_of(record, decode_outcome(record)).result
    assert isinstance(result, AttributeValues), decode_outcome(record)
    return {one.name: one.value.decode() for one in result.attributes}


def echoes(rig: RouterRig) -> dict[str, int]:
    """The figures of a router's echoes that are not 0."""
    text = rig.call(rig.router.metrics.exposition).decode()
    found = re.findall(r'^imxrouter_echoes_total\{result="([a-z-]+)"\} (\d+)', text, re.MULTILINE)
    return {word: int(count) for word, count in found if int(count)}


def put(rig: RouterRig, query: AttributeQuery, answers: list[Asked]) -> None:
    """Have a router ask."""
    rig.call(lambda: rig.router.attributes.ask(query, answers.append))


def all_there(answers: list[Asked], count: int) -> bool:
    """Whether so many questions were answered."""
    return len(answers) == count


# -- imxctl, router to router --------------------------------------------------------------------------------


def test_a_domain_tells_another_what_is_applied(lab: Lab) -> None:
    """All that a stranger may see, through both routers; what is hidden is not told (IMX-20)."""
    a, b = lab.router("a.example"), rich(lab)
    view = ctl_json(a, "attributes", "@b.example", "--as", "alice@a.example")
    assert values(view) == TOLD
    assert (view["owner"], view["requester"]) == ("b.example", "alice@a.example")
    assert (view["decided_by"], view["decided_role"]) == ("b.example", "router")
    assert all(one["max_age_s"] == 3600 and not one["cached"] for one in view["values"])
    assert {one["kind"] for one in view["values"]} == {"text", "number", "any"}
    assert b.counter(Kind.ATTRIBUTES * slots.KIND_STRIDE + slots.DELIVERED) == 1


def test_the_second_question_is_answered_from_the_cache(lab: Lab) -> None:
    """For every requester, in what is left of its age; `--fresh` asks again."""
    a, b = lab.router("a.example"), rich(lab)
    shown = ctl(a, "attributes", "@b.example", "max-message-size", "alias")
    assert shown.exit_code == Exit.OK, shown.output
    assert "max-message-size  16384  1h 0m        b.example" in shown.output
    assert "not told: alias" in shown.output
    again = ctl_json(a, "attributes", "@b.example", "max-message-size", "alias", "--as", "bob@a.example")
    assert again["values"][0]["cached"]
    assert 3500 < again["values"][0]["max_age_s"] <= 3600
    assert again["not_told"] == ["alias"]
    assert "cache" in ctl(a, "attributes", "@b.example", "max-message-size").output
    asked = b.counter(Kind.ATTRIBUTES * slots.KIND_STRIDE + slots.ACCEPTED)
    assert asked == 1
    assert not ctl_json(a, "attributes", "@b.example", "max-message-size", "--fresh")["values"][0]["cached"]
    assert b.counter(Kind.ATTRIBUTES * slots.KIND_STRIDE + slots.ACCEPTED) == 2


def test_what_is_changed_while_the_router_runs_is_told(lab: Lab) -> None:
    """The next answer has it; what is wrong is refused with the key."""
    a, b = lab.router("a.example"), rich(lab)
    ctl_json(a, "attributes", "@b.example")
    change = ("domains", "change", "b.example")
    diff = ctl_json(
        b, *change, "--max-message-bytes", "1000", "--subscription-lifetime", "600", "--abuse-contact", "",
        "--attribute", "hours=0-24", "--hide", "software",
    )  # fmt: skip
    assert diff["before"]["attributes"] == {"hours": "9-17", "motto": "Größe"}
    assert diff["after"]["attributes"] == {"hours": "0-24"}
    now = values(ctl_json(a, "attributes", "@b.example", "--fresh"))
    assert (now["max-message-size"], now["subscription-lifetime"]) == ("1000", "600")
    assert now["b.example/hours"] == "0-24"
    assert "abuse-contact" not in now
    for wrong in (["--abuse-contact", "x"], ["--attribute", "A=1"], ["--hide", "x"], ["--content-type", "t"]):
        assert ctl(b, *change, *wrong).exit_code == Exit.USAGE


def test_a_domain_served_here_is_told_what_strangers_are_not(lab: Lab) -> None:
    """Its own router answers it, and a neighbour's; an alias tells the same."""
    b = rich(lab)
    mine = values(ctl_json(b, "attributes", "@b.example", "--as", "@www.example"))
    assert mine.keys() - TOLD.keys() == {"software", "b.example/motto"}
    assert mine["b.example/motto"] == "Größe"
    assert "imxrouter" in mine["software"]


@pytest.mark.parametrize(
    ("words", "code", "says"),
    [
        (["@nowhere.example"], Exit.FAILED,
         ["no-such-domain at stage dns towards nowhere.example, decided by this router",
          "the domain does not exist in DNS"]),
        (["@b.example", "alias"], Exit.NOT_FOUND, ["b.example tells nothing", "not told: alias"]),
        (["@b.example", "Alias"], Exit.USAGE, ["no attribute name", "DOMAIN/KEY"]),
        (["@b.example", *["alias"] * 65], Exit.USAGE, ["at most 64"]),
        (["nobody at all"], Exit.USAGE, ["write local@domain, or @domain"]),
        (["@b.example", "--as", "mallory@a.example"], Exit.NOT_FOUND, ["not a user", "--as @a.example"]),
        (["@b.example", "--as", "@c.example"], Exit.NOT_FOUND, ["not served here"]),
        (["@b.example", "--as", "@@"], Exit.USAGE, ["as: "]),
    ],
)  # fmt: skip
def test_what_fails_is_said_with_stage_reason_and_remedy(
    lab: Lab, words: list[str], code: Exit, says: list[str]
) -> None:
    """And an exit code of its own."""
    a = lab.router("a.example")
    rich(lab)
    result = ctl(a, "attributes", *words)
    assert result.exit_code == code, result.output
    for text in says:
        assert text in result.output


def test_who_asks_must_be_said_where_several_domains_are_served(lab: Lab) -> None:
    """And a suspended domain asks nobody."""
    b = rich(lab)
    assert "who asks is not said" in ctl(b, "attributes", "@b.example").output
    ctl(b, "domains", "suspend", "www.example")
    result = ctl(b, "attributes", "@b.example", "--as", "@www.example")
    assert result.exit_code == Exit.FAILED
    assert "www.example is suspended" in result.output


def test_many_own_attributes_fit_into_one_answer(lab: Lab) -> None:
    """The most that the configuration takes crosses whole."""
    a, b = lab.router("a.example"), rich(lab)
    text = "x" * 240
    own = [word for number in range(64) for word in ("--attribute", f"k{number:02}={text}")]
    assert ctl(b, "domains", "change", "b.example", *own, "--hide", "software").exit_code == Exit.OK
    assert len(values(ctl_json(a, "attributes", "@b.example"))) == len(TOLD) - 1 + 64
    own += ["--attribute", "k64=x"]
    assert "at most 64" in ctl(b, "domains", "change", "b.example", *own).output


# -- echo ----------------------------------------------------------------------------------------------------


def test_a_proved_peer_gets_its_echo(lab: Lab) -> None:
    """The bytes come back, for the domain and for another one of the same router."""
    b, z = rich(lab), lab.organisation("z.example")
    link = z.proved_link(b)
    link.send(echo("z.example", 1, b"\x00\xff" * 512))
    answer = response(link)
    assert answer.type == RecordType.ECHO_RESPONSE
    assert decode_outcome(answer).ok
    assert answer.body[OUTCOME_BYTES:] == b"\x00\xff" * 512
    assert echoes(b) == {"answered": 1}


def test_a_body_of_the_published_size_passes(lab: Lab) -> None:
    """Where records are smaller than the limit of bodies, the published size is that which fits."""
    limits = {"links.max_record_bytes": 8192, "limits.max_message_bytes": 8000}
    b, z = rich(lab, settings=limits), lab.organisation("z.example")
    link = z.proved_link(b)
    link.send(ask("z.example", 1, "max-message-size"))
    size = int(told(response(link))["max-message-size"])
    assert size == 6144
    message = text_message("z" * 255 + "@z.example", "bob@b.example", "", 2)
    link.send(replace(message, body=message.body + b"x" * (size - len(message.body))))
    assert decode_outcome(response(link)).ok


def test_an_echo_before_the_proof_is_refused(lab: Lab) -> None:
    """And one from a domain that is not proved, over a link on which another is."""
    b, z = rich(lab), lab.organisation("z.example", "y.example")
    link = z.connect(b)
    link.send(echo("z.example", 1))
    assert link.outcome().reason is Reason.NOT_PROVED
    link.send(ask("z.example", 2, "software"))
    assert link.outcome().reason is Reason.NOT_PROVED
    proved = z.proved_link(b)
    proved.send(echo("y.example", 3), ask("y.example", 4))
    assert [proved.outcome().reason for _ in range(2)] == [Reason.NOT_PROVED] * 2
    assert echoes(b) == {}


def test_an_echo_is_limited_per_from_domain(lab: Lab) -> None:
    """Ten at once, then by name; the users of the domain share it, and each refusal is counted."""
    b, z = rich(lab), lab.organisation("z.example")
    link = z.proved_link(b)
    link.send(*(echo(f"u{number}@z.example", number) for number in range(1, 31)))
    outcomes = [link.outcome() for _ in range(30)]
    refused = [one for one in outcomes if not one.ok]
    assert 17 <= len(refused) <= 20
    assert {one.reason for one in refused} == {Reason.RATE_LIMITED}
    assert all(one.retry_after_s == 5 for one in refused)  # told in steps of five seconds
    assert b.refusals(Reason.RATE_LIMITED) == len(refused)
    assert echoes(b) == {"answered": 30 - len(refused), "rate-limited": len(refused)}
    link.send(ask("z.example", 99, "idle-timeout"))
    assert told(response(link)) == {"idle-timeout": "300"}


@pytest.mark.parametrize(
    ("record", "reason"),
    [
        (echo("z.example", 1, bytes(1025)), Reason.TOO_LARGE),
        (echo("z.example", 1, to="bob@b.example"), Reason.BAD_ADDRESS),
        (echo("z.example", 1, to="x.example"), Reason.RELAY_DENIED),
        (ask("z.example", 1, to="x.example"), Reason.RELAY_DENIED),
        (replace(ask("z.example", 1), body=bytes(9000)), Reason.BAD_BODY),
        (replace(ask("z.example", 1), body=write_values([Attribute("software", b"me", 9)])), Reason.BAD_BODY),
        (replace(ask("z.example", 1), fields=(NO_NAME,)), Reason.BAD_RECORD),
        (replace(ask("z.example", 1), fields=(A_NAME,) * 65), Reason.BAD_RECORD),
    ],
)
def test_what_a_router_does_not_answer_is_refused_by_name(lab: Lab, record: Record, reason: Reason) -> None:
    """The link lasts, the refusal is counted, and nothing comes back but the outcome."""
    b, z = rich(lab), lab.organisation("z.example")
    link = z.proved_link(b)
    link.send(record)
    answer = response(link)
    assert decode_outcome(answer).reason is reason
    assert len(answer.body) == OUTCOME_BYTES
    assert b.refusals(reason) == 1
    link.send(ask("z.example", 2, "software", "b.example/motto", "idle-timeout", "alias"))
    assert told(response(link)) == {"idle-timeout": "300"}


def test_an_answer_that_the_asker_does_not_take_is_too_large(lab: Lab) -> None:
    """Its link lasts, and what is small enough is told."""
    b, z = rich(lab), lab.organisation("z.example")
    own = [word for number in range(9) for word in ("--attribute", f"k{number}={'x' * 240}")]
    assert ctl(b, "domains", "change", "b.example", *own, "--hide", "software").exit_code == Exit.OK
    link = z.proved_link(b, max_record=1280)
    link.send(ask("z.example", 1))
    assert link.outcome().reason is Reason.TOO_LARGE
    link.send(ask("z.example", 2, "b.example/k1", "b.example/k2"))
    assert told(response(link)) == {"b.example/k1": "x" * 240, "b.example/k2": "x" * 240}


# -- users ---------------------------------------------------------------------------------------------------


def test_a_users_attributes_are_kept_for_each_requester(lab: Lab) -> None:
    """His service is asked once by each, and by nobody in another's name (IMX-20)."""
    key = login_key(1)
    tables = service_table("office", key, "b.example", types=["attributes"])
    a = lab.router("a.example", users=["alice", "albert"])
    b = lab.router("b.example", embedded=False, tables=tables, settings={"lab": True})
    service = lab.organisation("any.example").connect(b)
    assert service.log_in(key) == 0
    answers: list[Asked] = []

    def question(requester: str, number: int) -> AttributeQuery:
        owner, asker = Address.parse("bob@b.example"), Address.parse(requester)
        return AttributeQuery(asker, owner, number.to_bytes(16, "big"), ("alias", "presence"))

    for number, (who, alias) in enumerate([("alice", b"Bob"), ("albert", b"Mr Builder")]):
        query = question(f"{who}@a.example", number)
        put(a, query, answers)
        came = service.request()
        assert came.envelope.from_local == who.encode()
        service.answer(came, values=write_values([Attribute("alias", alias, 60)]))
        lab.wait_until(partial(all_there, answers, number + 1), "the answer")
    for number, who in enumerate(["alice", "albert"], 2):
        query = question(f"{who}@a.example", number)
        put(a, query, answers)
    assert [one.attributes[0].value for one in answers] == [b"Bob", b"Mr Builder"] * 2
    assert [bool(one.cached) for one in answers] == [False, False, True, True]
    assert service.drain() == []


# -- a peer that answers -------------------------------------------------------------------------------------


def asked_of(a: RouterRig, z: RawOrganisation, *names: str) -> tuple[RawPeer, Record, list[Asked]]:
    """Have a.example ask z.example: the link, the request as it came, and what is told in the end."""
    answers: list[Asked] = []
    query = AttributeQuery(Address.parse("a.example"), Address.parse(z.domain), b"i" * 16, names)
    put(a, query, answers)
    link = z.accept()
    z.take_claim(link, a)
    return link, link.request(), answers


@pytest.mark.parametrize(
    ("values_there", "expected"),
    [
        (b"\x00\x00\x00\x09\x04nam", Reason.PEER_FAILED),
        (b"\xff" * 3000, Reason.PEER_FAILED),
        (write_values([Attribute("a", b"")] * 256) + b"\0", Reason.PEER_FAILED),
        (b"", Reason.NONE),
        (write_values([Attribute("idle-timeout", b"soon", 60), Attribute("alias", b"x", 60)]), Reason.NONE),
        (write_values([Attribute("software", b"a\x1b[2J", 60)]), Reason.NONE),
    ],
)
def test_a_peers_hostile_answer_is_its_failure_or_left_out(
    lab: Lab, values_there: bytes, expected: Reason
) -> None:
    """Nothing malformed, and nothing that was not asked for, is told or kept."""
    a, z = lab.router("a.example"), lab.organisation("z.example")
    link, came, answers = asked_of(a, z, "idle-timeout", "software")
    link.send(response_to(came, SUCCESS, values_there))
    lab.wait_until(lambda: bool(answers), "the answer")
    assert answers[0].outcome.reason is expected
    assert answers[0].attributes == ()
    kept = a.call(lambda: len(a.router.attributes.cache))
    assert kept == (0 if expected is Reason.PEER_FAILED else 2)  # that it tells neither of the two


def test_a_peers_refusal_is_told_and_not_kept(lab: Lab) -> None:
    """With its reason."""
    a, z = lab.router("a.example"), lab.organisation("z.example")
    link, came, answers = asked_of(a, z)
    outcome: Outcome = failure(Reason.BUSY, retry_after_s=7)
    link.send(response_to(came, outcome))
    lab.wait_until(lambda: bool(answers), "the answer")
    assert answers[0].outcome.reason is Reason.BUSY
    assert a.call(lambda: len(a.router.attributes.cache)) == 0
