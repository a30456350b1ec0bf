"""What a domain publishes is what discovery reads."""

import pytest

from imxrouter.discovery.answers import TYPE_IMX, TYPE_SRV, TYPE_SVCB
from imxrouter.discovery.errors import BadDnsRecord
from imxrouter.discovery.plan import Plan
from imxrouter.discovery.records import Form, Target, xmpp_lines, zone_text
from imxrouter.discovery.xmpp_plan import XmppPlan
from imxrouter.model.domain import Domain
from imxrouter.model.vocabulary import Reason
from tests.doubles.zones import FakeZones

DOMAIN = Domain.parse("a.example")
TARGETS = (
    Target("imx1.a.example", 7000, 1, 0, "required", frozenset({"dialback", "certificate"}), (1,)),
    Target("imx2.a.example", 7001, 2, 0, "none"),
)


def search(zone: str, without: tuple[str, ...] = ()) -> Plan:
    """Search in a zone from which lines of some types were taken out."""
    kept = [line for line in zone.splitlines() if not any(f" {kind} " in line for kind in without)]
    zones = FakeZones("$ORIGIN a.example.\n" + "\n".join(kept))
    plan = Plan(DOMAIN)
    while (question := plan.question) is not None:
        zones.ask(question.name, question.rdtype).addCallback(plan.feed)
    return plan


@pytest.mark.parametrize(
    ("form", "without"),
    [(Form.IMX, ()), (Form.SVCB, ("TYPE65400",)), (Form.SRV, ("TYPE65400", "SVCB"))],
)
def test_published_text_is_found_again(form: Form, without: tuple[str, ...]) -> None:
    """Each form leads back to the targets, SRV without what it cannot say."""
    verdict = search(zone_text(DOMAIN, TARGETS), without).verdict
    assert verdict is not None
    assert verdict.form is form
    bare = tuple(Target(target.host, target.port, target.priority) for target in TARGETS)
    assert verdict.targets == (bare if form is Form.SRV else TARGETS)


@pytest.mark.parametrize("without", [(), ("TYPE65400",), ("TYPE65400", "SVCB")])
def test_no_target_publishes_no_service(without: tuple[str, ...]) -> None:
    """All three forms say it."""
    verdict = search(zone_text(DOMAIN, ()), without).verdict
    assert verdict is not None
    assert verdict.reason is Reason.NO_SERVICE


def test_text_has_every_name_and_nothing_that_servers_reject() -> None:
    """The generic form carries the IMX record; its readable form stands in a comment."""
    text = zone_text(Domain.parse("bücher.example"), TARGETS[:1])
    lines = [line.split() for line in text.splitlines() if line and not line.startswith(";")]
    assert [(words[0], words[3]) for words in lines] == [
        ("xn--bcher-kva.example.", "TYPE65400"),
        ("_imx.xn--bcher-kva.example.", "SVCB"),
        ("_im._imx.xn--bcher-kva.example.", "SRV"),
        ("_pres._imx.xn--bcher-kva.example.", "SRV"),
        ("_imx._tcp.xn--bcher-kva.example.", "SRV"),
    ]
    assert "bücher.example" in text


@pytest.mark.parametrize(
    "target",
    [Target("127.0.0.1"), Target("a b"), Target("a\nb"), Target("a.example", 0), Target("é.example")],
)
def test_what_cannot_be_published_is_refused(target: Target) -> None:
    """Better here than at every peer."""
    with pytest.raises(BadDnsRecord):
        zone_text(DOMAIN, (target,))


def test_types_are_the_registered_numbers() -> None:
    """Numbers that go on the wire."""
    assert (TYPE_IMX, TYPE_SVCB, TYPE_SRV) == (65400, 64, 33)


def search_xmpp(lines: list[str]) -> XmppPlan:
    """Search for XMPP servers in a zone with an address."""
    zones = FakeZones("$ORIGIN a.example.\n@ 60 IN A 192.0.2.1\n" + "\n".join(lines))
    plan = XmppPlan(DOMAIN)
    while (question := plan.question) is not None:
        zones.ask(question.name, question.rdtype).addCallback(plan.feed)
    return plan


def test_xmpp_records_are_found_again() -> None:
    """Both kinds, as they are; of one kind only that."""
    direct = Target("im1.a.example", 5270, 0, 5, tls="direct")
    starttls = Target("im1.a.example", 5269, 0, 5, tls="starttls")
    for targets in ((direct, starttls), (starttls,), (direct,)):
        verdict = search_xmpp(xmpp_lines(DOMAIN, targets, published=True)).verdict
        assert verdict is not None
        assert set(verdict.targets) == set(targets)
    lines = xmpp_lines(DOMAIN, (direct, starttls), published=True)
    assert lines == [
        "_xmpps-server._tcp.a.example. 3600 IN SRV 0 5 5270 im1.a.example.",
        "_xmpp-server._tcp.a.example. 3600 IN SRV 0 5 5269 im1.a.example.",
    ]


def test_xmpp_that_is_not_published_says_so() -> None:
    """One record keeps servers from the address of the domain."""
    lines = xmpp_lines(DOMAIN, (Target("im1.a.example", 5269, tls="starttls"),), published=False)
    assert lines == ["_xmpp-server._tcp.a.example. 3600 IN SRV 0 0 0 ."]
    verdict = search_xmpp(lines).verdict
    assert verdict is not None
    assert verdict.reason is Reason.NO_SERVICE
