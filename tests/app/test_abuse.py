"""Reports of abuse between routers, over real sockets: sent, taken, limited, kept, handed on (FCC-4)."""

from __future__ import annotations

from itertools import count

import pytest

from imxrouter.app.traffic import abuse
from imxrouter.cli.exits import Exit
from imxrouter.model.abuse import AbuseType, Report
from imxrouter.model.address import Address
from imxrouter.model.vocabulary import Reason
from imxrouter.routing.limits import Rate
from imxrouter.wire.layout import FLAG_RESPONSE_WANTED
from imxrouter.wire.record import Envelope, Record
from imxrouter.wire.registry import RecordType
from tests.doubles.ctl import ctl, ctl_json, ctl_json_of_failure
from tests.doubles.router_rig import Lab, login_key, service_table

EVE, BOB = Address.parse("eve@m.example"), Address.parse("bob@b.example")
_numbers = count(1)


def request(report: Report | bytes, to: Envelope) -> Record:
    """A REPORT as a peer sends it."""
    body = report if isinstance(report, bytes) else report.encode()
    number = next(_numbers)
    return Record(
        RecordType.REPORT, FLAG_RESPONSE_WANTED, 110, number, number.to_bytes(16, "big"), to, (), body
    )


TO_B = Envelope(b"", b"b.example", b"", b"m.example")
ABOUT_BOB = Report(AbuseType.SPAM, BOB, EVE, 1_800_000_000, b"\x07" * 16, "he sells things")


def test_from_router_to_router(lab: Lab) -> None:
    """An operator reports; the other one's operator sees it, and so does his abuse contact."""
    m = lab.router("m.example", users=("eve", "abuse"))
    b = lab.router("b.example", users=("bob",))
    ctl_json(m, "domains", "change", "m.example", "--abuse-contact", "im:abuse@m.example")
    words = ["--to", "bob@b.example", "--kind", "spam", "--id", "07" * 16, "--text", "he sells"]
    sent = ctl_json(b, "abuse", "report", "eve@m.example", *words)
    assert (sent["status"], sent["direction"], sent["by"]) == ("success", "sent", "b.example")
    (got,) = ctl_json(m, "abuse", "list")
    assert (got["direction"], got["by"], got["source"], got["message_id"], got["text"]) == (
        "received", "b.example", "eve@m.example", "07" * 16, "he sells",
    )  # fmt: skip
    ((source, text),) = m.inbox("abuse@m.example")
    assert source == "m.example"
    assert "eve@m.example" in text
    assert ctl_json(m, "abuse", "list", "m.example") == [got]
    assert ctl_json(m, "abuse", "list", "x.example") == []
    assert "he sells" in ctl(m, "abuse", "list", "--text").output
    assert b'direction="received",result="taken"} 1.0' in m.router.metrics.exposition()
    assert b'direction="sent",result="taken"} 1.0' in b.router.metrics.exposition()


def test_who_is_blocked_is_reported_all_the_same(lab: Lab) -> None:
    """A block of both ways does not keep the router's own words back."""
    m, b = lab.router("m.example"), lab.router("b.example", users=("bob",))
    ctl_json(b, "policy", "block", "m.example")
    assert ctl_json(b, "abuse", "report", "eve@m.example", "--to", "bob@b.example")["status"] == "success"
    assert len(ctl_json(m, "abuse", "list")) == 1


def test_a_router_that_knows_no_reports(lab: Lab) -> None:
    """Its domain's contact is asked for: an address of it gets a message, another URI is shown."""
    b = lab.router("b.example", users=("bob",))
    m = lab.router("m.example", users=("eve", "abuse"))
    m.call(lambda: m.router.inside.handlers.pop(RecordType.REPORT))  # it answers as one of before
    words = ["abuse", "report", "eve@m.example", "--to", "bob@b.example"]
    told = ctl_json_of_failure(b, *words)
    assert (told["reason"], told["contact"]) == ("type-not-enabled", "")
    ctl_json(m, "domains", "change", "m.example", "--abuse-contact", "mailto:abuse@m.example")
    shown = ctl(b, *words)
    assert shown.exit_code == Exit.FAILED
    assert "write to mailto:abuse@m.example" in shown.output
    ctl_json(m, "domains", "change", "m.example", "--abuse-contact", "im:abuse@m.example")
    assert ctl_json(b, *words)["status"] == "success"
    assert [source for source, _ in m.inbox("abuse@m.example")] == ["b.example"]


def test_what_is_refused(lab: Lab) -> None:
    """By the form, by whose it is, and by how much comes; each is counted."""
    b = lab.router("b.example", users=("bob",))
    link = lab.organisation("m.example").proved_link(b)

    def told(report: Report | bytes, to: Envelope = TO_B) -> Reason:
        link.send(request(report, to))
        return link.outcome().reason

    assert told(ABOUT_BOB) is Reason.NONE
    assert told(b"type: spam") is Reason.BAD_BODY
    assert told(b"x" * 9000) is Reason.TOO_LARGE
    assert told(ABOUT_BOB, Envelope(b"bob", b"b.example", b"", b"m.example")) is Reason.BAD_ADDRESS
    others = Report(AbuseType.SPAM, BOB, Address.parse("ann@c.example"), 1)
    assert told(others) is Reason.BAD_BODY
    not_ours = Report(AbuseType.SPAM, Address.parse("ann@c.example"), EVE, 1)
    assert told(not_ours) is Reason.BAD_BODY
    answers = [told(ABOUT_BOB) for _ in range(25)]
    assert answers[-1] is Reason.RATE_LIMITED
    assert answers.count(Reason.NONE) <= 20
    assert len(ctl_json(b, "abuse", "list")) == 1 + answers.count(Reason.NONE)


def test_they_are_bounded_and_survive(lab: Lab) -> None:
    """The oldest go first; the store has what is shown."""
    b = lab.router("b.example", users=("bob",), settings={"access.abuse_reports": 3})
    link = lab.organisation("m.example").proved_link(b)
    for number in range(5):
        link.send(request(Report(AbuseType.SPAM, BOB, EVE, number), TO_B))
        assert link.outcome().ok
    listed = b.call(b.router.abuse.reports)
    assert sorted(one.message_at for one in listed) == [2, 3, 4]
    assert len(b.call(lambda: b.router.store.items("abuse"))) == 3


def test_who_reports_most_makes_room(lab: Lab) -> None:
    """One zone that reports again and again pushes out its own reports, not those of others, nor ours."""
    b = lab.router("b.example", users=("bob",), settings={"access.abuse_reports": 4})
    ctl(b, "abuse", "report", "eve@m.example", "--to", "bob@b.example")
    quiet = lab.organisation("quiet.test").proved_link(b)
    seen = Report(AbuseType.FRAUD, BOB, Address.parse("ann@quiet.test"), 1)
    quiet.send(request(seen, Envelope(b"", b"b.example", b"", b"quiet.test")))
    assert quiet.outcome().ok
    loud = {name: lab.organisation(name).proved_link(b) for name in ("d0.loud.test", "d1.loud.test")}
    for number, (name, link) in enumerate(list(loud.items()) * 3):
        report = Report(AbuseType.SPAM, BOB, Address.parse(f"eve@{name}"), number)
        link.send(request(report, Envelope(b"", b"b.example", b"", name.encode())))
        assert link.outcome().ok
    listed = b.call(b.router.abuse.reports)
    assert sorted((one.direction, one.by) for one in listed) == [
        ("received", "d0.loud.test"), ("received", "d1.loud.test"), ("received", "quiet.test"),
        ("sent", "b.example"),
    ]  # fmt: skip


def test_a_contact_is_not_flooded(lab: Lab, monkeypatch: pytest.MonkeyPatch) -> None:
    """He is told of some; all are listed."""
    monkeypatch.setattr(abuse, "NOTICES", Rate.of(0.001, 2))
    b = lab.router("b.example", users=("bob", "abuse"))
    ctl_json(b, "domains", "change", "b.example", "--abuse-contact", "im:abuse@b.example")
    link = lab.organisation("m.example").proved_link(b)
    for number in range(5):
        link.send(request(Report(AbuseType.SPAM, BOB, EVE, number), TO_B))
        assert link.outcome().ok
    assert len(b.call(b.router.abuse.reports)) == 5
    assert len(b.inbox("abuse@b.example")) == 2


def test_a_users_own_service_reports(lab: Lab) -> None:
    """It sends the record itself, as its user; the router passes it on like every request."""
    key = login_key(1)
    b = lab.router("b.example", tables=service_table("shop", key, "shop.example"), settings={"lab": True})
    m = lab.router("m.example", users=("eve",))
    service = lab.organisation("any.example").connect(b)
    assert service.log_in(key) == 0
    report = Report(AbuseType.THREAT, EVE, Address.parse("seller@shop.example"), 1)
    lab.publish("shop.example", b.endpoint)
    service.send(request(report, Envelope(b"", b"m.example", b"seller", b"shop.example")))
    assert service.outcome().ok
    (got,) = ctl_json(m, "abuse", "list")
    assert (got["by"], got["kind"]) == ("seller@shop.example", "threat")


def test_wrong_words(lab: Lab) -> None:
    """Who is none of ours reports nothing."""
    b = lab.router("b.example", users=("bob",))
    result = ctl(b, "abuse", "report", "eve@m.example", "--to", "ann@c.example")
    assert result.exit_code == Exit.NOT_FOUND
    result = ctl(b, "abuse", "report", "eve@m.example", "--to", "bob@b.example", "--id", "12")
    assert result.exit_code == Exit.USAGE
