"""First contact and rules at the router, for users of a service that logs in over IMX and has none."""

from __future__ import annotations

import time
from dataclasses import replace
from functools import partial
from itertools import count

import pytest

from imxrouter.app.traffic.knocking import NOTICES_AT_ONCE
from imxrouter.cli.exits import Exit
from imxrouter.config.load import Document, parse
from imxrouter.config.problems import ConfigError
from imxrouter.model.address import Address
from imxrouter.model.operations import AttributeQuery, Operation, Subscribe
from imxrouter.model.vocabulary import Reason
from imxrouter.routing.rules import Right
from imxrouter.transport.operations import operation_to_record
from imxrouter.wire.layout import FLAG_RESPONSE_WANTED
from imxrouter.wire.record import Record
from tests.doubles.ctl import ctl, ctl_json, ctl_json_of_failure
from tests.doubles.raw_peer import RawPeer, text_message
from tests.doubles.router_rig import Lab, RouterRig, login_key, service_table

SELLER, CAROL = "seller@shop.example", "carol@m.example"
_numbers = count(1)


def shop(lab: Lab, contact: str) -> tuple[RouterRig, RawPeer, RawPeer]:
    """A router with a shop behind it, the shop's link, and that of carol's domain."""
    key = login_key(1)
    tables = service_table("shop", key, "shop.example", types=("subscribe", "notify", "attributes"))
    tables = tables.replace('kind = "imx"\n', f'kind = "imx"\nfirst_contact = "{contact}"\n')
    b = lab.router("b.example", tables=tables, settings={"lab": True, "log.trace_entries": 100})
    service = lab.organisation("any.example").connect(b)
    assert service.log_in(key) == 0
    return b, service, lab.organisation("m.example").proved_link(b)


def requests_of(service: RawPeer) -> list[Record]:
    """What came to the shop; notices of its own domain are taken, as a service takes them."""
    came = [item for item in service.drain() if isinstance(item, Record) and not item.is_response]
    for one in came:
        if not one.envelope.from_local:
            service.answer(one)
    return came


def told(link: RawPeer, service: RawPeer, source: str = CAROL) -> Reason | None:
    """What a message is answered at the router; None where the shop gets it."""
    link.send(text_message(source, SELLER, "hello", next(_numbers)))
    came = [one for one in requests_of(service) if one.envelope.from_local]
    if came:
        service.answer(came[0])
        assert link.outcome().ok
        return None
    return link.outcome().reason


def test_ask_then_allow(lab: Lab) -> None:
    """A stranger knocks and is not told; the user sees him, agrees, and gets what he writes next."""
    b, service, link = shop(lab, "ask")
    assert told(link, service) is Reason.NOT_DELIVERED
    assert told(link, service) is Reason.NOT_DELIVERED
    (waiting,) = ctl_json(b, "watchers", SELLER)["waiting"]
    assert (waiting["person"], waiting["right"], waiting["count"]) == (CAROL, "message", 2)
    explained = ctl(b, "policy", "explain", CAROL, SELLER)
    assert explained.exit_code == Exit.FAILED
    assert "consent-needed" in explained.output
    assert "first_contact" in explained.output
    view = ctl_json(b, "watchers", SELLER, "--approve", "CAROL@m.example", "--messages")
    assert view["waiting"] == []
    assert [one["decision"] for one in view["decisions"]] == ["allow"]
    assert told(link, service) is None
    ctl_json(b, "watchers", SELLER, "--forget", CAROL, "--messages")
    assert told(link, service) is Reason.NOT_DELIVERED


def test_rules_of_a_user(lab: Lab) -> None:
    """`imxctl rules` as for the embedded service: by right, by address, domain and zone."""
    b, service, link = shop(lab, "open")
    assert told(link, service) is None
    view = ctl_json(b, "rules", SELLER, "--block", "*.example", "--right", "message")
    assert view["rules"] == [{"who": "*.example", "right": "message", "decision": "block", "detail": "full"}]
    assert view["messages_default"] == "open"
    assert told(link, service) is Reason.NOT_DELIVERED
    ctl_json(b, "rules", SELLER, "--allow", CAROL, "--right", "message")
    assert told(link, service) is None
    assert told(link, service, "dave@m.example") is Reason.NOT_DELIVERED
    ctl_json(b, "rules", SELLER, "--forget", "*.example", "--right", "message")
    assert told(link, service, "dave@m.example") is None
    assert ctl(b, "rules", SELLER, "--forget", "*.example", "--right", "message").exit_code == Exit.NOT_FOUND
    assert ctl(b, "rules", SELLER, "--allow", "group:x").exit_code == Exit.USAGE
    assert ctl(b, "rules", SELLER, "--allow", CAROL, "--basic").exit_code == Exit.USAGE


@pytest.mark.parametrize(("contact", "passes"), [("closed", False), ("open", True)])
def test_access_rules_are_about_presence(lab: Lab, contact: str, passes: bool) -> None:
    """Table III: who may subscribe, or ask once, is the recipient's; to a blocked one all look alike."""
    b, service, link = shop(lab, contact)
    carol, seller = Address.parse(CAROL), Address.parse(SELLER)
    operations: list[Operation] = [
        Subscribe(carol, seller, next(_numbers).to_bytes(16, "big"), b"one", 600),
        Subscribe(carol, seller, next(_numbers).to_bytes(16, "big"), b"two", 0),
        AttributeQuery(carol, seller, next(_numbers).to_bytes(16, "big"), ("presence",)),
    ]
    for operation in operations:
        record = operation_to_record(operation)
        link.send(
            Record(
                record.type, FLAG_RESPONSE_WANTED, record.hops_left, next(_numbers), record.message_id,
                record.envelope, record.fields, record.body,
            )
        )  # fmt: skip
        came = requests_of(service)
        assert bool(came) is passes
        if not passes:
            assert link.outcome().reason is Reason.NOT_DELIVERED
        else:
            service.answer(came[0])
            link.outcome()
    assert b.refusals(Reason.BLOCKED) == (0 if passes else 3)


def test_a_domain_has_its_own_word(lab: Lab) -> None:
    """It is changed at run time, and holds at once."""
    b, service, link = shop(lab, "closed")
    assert told(link, service) is Reason.NOT_DELIVERED
    b.call(lambda: _change(b, "service"))
    assert told(link, service) is None
    assert ctl(b, "rules", SELLER).exit_code == Exit.NOT_FOUND
    b.call(lambda: _change(b, "ask"))
    assert told(link, service) is Reason.NOT_DELIVERED


def _change(b: RouterRig, contact: str) -> None:
    record = b.router.domains.get(Address.parse(SELLER).domain)
    assert record is not None
    b.router.domains.change(replace(record, first_contact=contact))


@pytest.mark.parametrize("where", ["service", "domain"])
def test_an_embedded_service_has_its_own_words(where: str) -> None:
    """The configuration says so."""
    line = 'first_contact = "ask"\n'
    text = '[[service]]\nname = "home"\nkind = "embedded"\n' + (line if where == "service" else "")
    text += '[[domain]]\nname = "a.example"\nservice = "home"\n' + (line if where == "domain" else "")
    with pytest.raises(ConfigError) as caught:
        parse(Document("router.toml", 'name = "r.a.example"\n' + text))
    assert [one.path for one in caught.value.problems] == [f"{where}[0].first_contact"]


def test_who_was_written_to_may_answer(lab: Lab) -> None:
    """A stranger is turned away, until the user writes to him."""
    b, service, link = shop(lab, "ask")
    assert told(link, service) is Reason.NOT_DELIVERED
    lab.publish("shop.example", b.endpoint)
    service.send(text_message(SELLER, CAROL, "your order", next(_numbers)))
    lab.wait_until(lambda: b.router.access.recipients._wrote, "it is noted")
    assert told(link, service) is None
    assert told(link, service, "dave@m.example") is Reason.NOT_DELIVERED
    assert ctl_json_of_failure(b, "policy", "explain", "dave@m.example", SELLER)["reason"] == "consent-needed"
    assert ctl_json(b, "policy", "explain", CAROL, SELLER)["verdict"] == "pass"


def notices(service: RawPeer) -> list[str]:
    """Texts that the shop's own domain sent to the seller."""
    came = [one for one in requests_of(service) if not one.envelope.from_local]
    return [one.body.rpartition(b"\r\n\r\n")[2].decode() for one in came]


def test_a_user_is_told_who_knocks(lab: Lab) -> None:
    """Once for each person and wish, by the user's own domain, with nothing of what was sent."""
    b, service, link = shop(lab, "ask")
    link.send(text_message(CAROL, SELLER, "the secret", next(_numbers)))
    (notice,) = notices(service)
    assert notice.startswith(f"{CAROL} wrote to you.")
    assert "Write to that address" in notice
    assert "secret" not in notice
    assert link.outcome().reason is Reason.NOT_DELIVERED
    link.send(text_message("Carol@m.example", SELLER, "again", next(_numbers)))
    assert notices(service) == []
    assert link.outcome().reason is Reason.NOT_DELIVERED
    lab.publish("shop.example", b.endpoint)
    service.send(text_message(SELLER, CAROL, "who are you?", next(_numbers)))
    lab.wait_until(lambda: b.router.access.recipients._wrote, "it is noted")
    assert told(link, service) is None


@pytest.mark.parametrize("contact", ["open", "closed", ""])
def test_nobody_is_told_where_nobody_is_asked(lab: Lab, contact: str) -> None:
    """A refusal is no knock, and a service with rules of its own is left alone."""
    _, service, link = shop(lab, contact)
    told(link, service)
    assert notices(service) == []


def test_invented_strangers_do_not_flood_a_user(lab: Lab) -> None:
    """Five notices, then no more this hour; all of them are on the user's list."""
    b, service, link = shop(lab, "ask")
    link.send(*(text_message(f"m{n}@m.example", SELLER, "x", next(_numbers)) for n in range(12)))
    assert len(notices(service)) == NOTICES_AT_ONCE
    assert len(ctl_json(b, "watchers", SELLER)["waiting"]) == 12
    [link.outcome() for _ in range(12)]


def test_all_processes_and_the_next_life_know_who_waits(lab: Lab) -> None:
    """A knock at one process is seen at the other, and what the user decides there ends it here."""
    key = login_key(1)
    tables = service_table("shop", key, "shop.example").replace(
        'kind = "imx"\n', 'kind = "imx"\nfirst_contact = "ask"\n'
    )
    shared = {"lab": True, "listen.reuse_port": True, "state_dir": str(lab.folder / "shared")}
    one = lab.router("b.example", tables=tables, settings=shared)
    two = lab.router("b.example", tables=tables, settings={**shared, "process": 1}, publish=False)
    seller, wall = Address.parse(SELLER), time.time

    def waiting(rig: RouterRig) -> list[tuple[str, int]]:
        found = rig.router.access.recipients.knocks(seller, wall())
        return [(str(knock.person), knock.count) for knock in found]

    knock = partial(one.router.access.recipients.knock, seller.key, Address.parse(CAROL), Right.MESSAGE)
    assert one.call(lambda: knock(wall())) is True
    lab.wait_until(lambda: waiting(two) == [(CAROL, 1)], "the other process knows")
    theirs = partial(two.router.access.recipients.knock, seller.key, Address.parse(CAROL), Right.MESSAGE)
    assert two.call(lambda: theirs(wall())) is False
    ctl_json(two, "watchers", SELLER, "--approve", CAROL, "--messages")
    lab.wait_until(lambda: waiting(one) == [], "it is settled here too")
    dave = partial(one.router.access.recipients.knock, seller.key, Address.parse("dave@m.example"))
    one.call(lambda: dave(Right.MESSAGE, wall()))
    lab.wait_until(lambda: len(waiting(two)) == 1, "it is kept")
    one.stop()
    two.stop()
    again = lab.router("b.example", tables=tables, settings=shared)
    assert waiting(again) == [("dave@m.example", 1)]
