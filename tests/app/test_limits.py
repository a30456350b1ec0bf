"""What a domain's own limits do, between whole routers."""

from __future__ import annotations

import pytest

from imxrouter.formats.mime import TEXT_PLAIN, build_body
from imxrouter.model.address import Address
from imxrouter.model.operations import Message
from imxrouter.model.vocabulary import Reason
from tests.doubles.ctl import ctl
from tests.doubles.router_rig import Lab

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


def test_imxctl_send_warns_before_the_limit(lab: Lab) -> None:
    """docs/operators/limits.md, senders: from four fifths of the burst on, whoever set the limit."""
    a = lab.router("a.example")
    b = lab.router("b.example", settings={"limits.sender_rate_per_s": 0.01, "limits.sender_burst": 5})
    told = [ctl(a, "send", "alice@a.example", "bob@b.example", "hello").output for _ in range(5)]
    assert [("near the rate limit" in one) for one in told] == [False, False, False, False, True]
    assert "near the rate limit: no more message may go at once" in told[-1]
    assert len(b.inbox("bob@b.example")) == 5
