"""What a domain's own limits do, between whole routers."""

from __future__ import annotations

import pytest

from imxrouter.formats.mime import TEXT_PLAIN, build_body
from imxrouter.model.address import Address
from imxrouter.model.operations import Message
from imxrouter.model.vocabulary import Reason
from tests.doubles.ctl import ctl
from tests.doubles.raw_peer import RawPeer, text_message
from tests.doubles.router_rig import Lab, login_key, service_table

_SENT = Message(
    Address.parse("bob@b.example"), Address.parse("alice@small.example"), bytes(16), TEXT_PLAIN, b"x" * 100
)
SMALL = (
    f'[[domain]]\nname = "small.example"\nservice = "home"\nmax_message_bytes = {len(build_body(_SENT))}\n'
)


@pytest.mark.parametrize(("size", "passes"), [(100, True), (101, False)])
def test_the_largest_body_is_what_the_file_says(lab: Lab, size: int, passes: bool) -> None:
    """For what the domain is sent, and for what its users send outside; its neighbour's are not concerned."""
    a, b = lab.router("a.example", tables=SMALL), lab.router("b.example")
    lab.publish("small.example", a.endpoint)
    text = "x" * size
    for rig, source, destination in (
        (b, "bob@b.example", "alice@small.example"), (a, "alice@small.example", "bob@b.example"),
    ):  # fmt: skip
        reason = rig.send(source, destination, text).outcome().reason
        assert reason is (Reason.NONE if passes else Reason.TOO_LARGE)
    assert a.send("alice@a.example", "bob@b.example", text).outcome().ok
    assert len(b.inbox("bob@b.example")) == (2 if passes else 1)
    assert a.refusals(Reason.TOO_LARGE) == (0 if passes else 2)


NAMES = ("p.example", "x.example", "y.example")
ALIASES = '[[domain]]\nname = "p.example"\nservice = "{}"\naliases = ["x.example", "y.example"]\n'
FREE = {"limits.sender_rate_per_s": 100_000, "limits.sender_burst": 100_000}


def _passed(link: RawPeer, pairs: list[tuple[str, str]]) -> int:
    """How many of so many messages are delivered, source and destination given."""
    link.send(*(text_message(*pair, "x", number) for number, pair in enumerate(pairs, 1)))
    return sum(link.outcome().ok for _ in pairs)


def test_a_recipient_is_one_by_all_names_of_his_domain(lab: Lab) -> None:
    """Strangers do not get a share of their own at each alias."""
    settings = {
        **FREE, "limits.recipient_rate_per_s": 0.01, "limits.recipient_burst": 20,
        "limits.recipient_strangers_rate_per_s": 0.001,
    }  # fmt: skip
    b = lab.router("b.example", settings=settings, tables=ALIASES.format("home"))
    link = lab.organisation("m.example").proved_link(b)
    assert _passed(link, [("eve@m.example", f"alice@{name}") for name in NAMES * 10]) == 1


def test_a_domain_sends_and_takes_as_one_by_all_its_names(lab: Lab) -> None:
    """Its own rate is not multiplied by its aliases."""
    key = login_key(1)
    table = service_table("shop", key, "shop.example")
    tables = table + ALIASES.format("shop") + "records_per_s = 10\n"
    settings = {**FREE, "lab": True, "limits.traffic_burst_s": 1.0}
    b = lab.router("b.example", tables=tables, settings=settings)
    service = lab.organisation("any.example").connect(b)
    assert service.log_in(key) == 0
    assert 10 <= _passed(service, [(f"ann@{name}", "bob@b.example") for name in NAMES * 20]) < 20
    link = lab.organisation("m.example").proved_link(b)
    link.send(*(text_message("eve@m.example", f"ann@{NAMES[n % 3]}", "x", n) for n in range(1, 61)))
    refused = sum(link.outcome().reason is Reason.BUSY for _ in range(40))
    assert refused == 40


def test_imxctl_send_warns_before_the_limit(lab: Lab) -> None:
    """docs/operators/limits.md, senders: from four fifths of the burst on, whoever set the limit."""
    a = lab.router("a.example")
    b = lab.router("b.example", settings={"limits.sender_rate_per_s": 0.01, "limits.sender_burst": 5})
    told = [ctl(a, "send", "alice@a.example", "bob@b.example", "hello").output for _ in range(5)]
    assert [("near the rate limit" in one) for one in told] == [False, False, False, False, True]
    assert "near the rate limit: no more message may go at once" in told[-1]
    assert len(b.inbox("bob@b.example")) == 5
