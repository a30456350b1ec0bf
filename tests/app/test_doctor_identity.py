"""What the doctor and `imxctl dns records` say of certificates, delegation and DANE."""

from __future__ import annotations

from typing import Any

import pytest

from imxrouter.app.trust.identity_view import ending
from imxrouter.cli.exits import Exit
from imxrouter.model.vocabulary import Reason
from tests.app.test_doctor import look, told
from tests.doubles.ctl import ctl, ctl_json
from tests.doubles.router_rig import Lab, RouterRig, issued

HOST = "r1.hoster.example"
DOMAIN = "customer.example"


def hosted(lab: Lab, *names: str, by: str = "laboratory") -> RouterRig:
    """A hoster's router, whose certificate has these names; the customer's zone leads there."""
    rig = lab.router(DOMAIN, publish=False, settings={"trust.default_policy": "dialback+certificate"})
    rig.use_tls([issued(*names, by=by)])
    ip, port = rig.endpoint
    lab.zones.load(f"$ORIGIN hoster.example.\n$TTL 60\nr1 IN A {ip}\n")
    lab.zones.load(f"$ORIGIN {DOMAIN}.\n$TTL 60\n@ IN IMX 1 {HOST}. port={port}\n")
    return rig


def identity(view: Any) -> dict[str, Any]:
    """The finding about the certificate."""
    (found,) = (one for one in view["findings"] if one["stage"] == "identity")
    assert isinstance(found, dict)
    return found


def view_of(rig: RouterRig) -> Any:
    """What the doctor says, well or ill."""
    return ctl_json(rig, "domains", "doctor", DOMAIN)


@pytest.mark.parametrize(("names", "by"), [((DOMAIN,), "authority"), ((HOST,), "delegation")])
def test_a_certificate_that_counts_is_good_and_says_by_what(
    lab: Lab, names: tuple[str, ...], by: str
) -> None:
    """Its own certificate, or its hoster's behind DNSSEC."""
    lab.zones.secure = True
    found = identity(view_of(hosted(lab, *names)))
    assert (found["severity"], found["what"].endswith(f"by {by}")) == ("good", True)
    assert any(line.startswith("DNSSEC: secure") for line in found["evidence"])


def test_an_insecure_delegation_is_a_warning_with_both_ways_out(lab: Lab) -> None:
    """The question that was not validated is evidence; the remedy names certificate and DNSSEC."""
    found = identity(view_of(hosted(lab, HOST)))
    assert (found["severity"], found["reason"]) == ("warning", Reason.DELEGATION_INSECURE.word)
    assert f"DNSSEC: not validated at {DOMAIN} IMX" in found["evidence"]
    assert "tls.certificates" in found["remedy"]
    assert "DS record" in found["remedy"]


def test_records_that_do_not_match_are_an_error_and_the_right_one_is_told(lab: Lab) -> None:
    """Publishing what the remedy says heals it, whoever signed the certificate."""
    lab.zones.secure = True
    rig = hosted(lab, HOST, by="unknown")
    place = f"_{rig.endpoint[1]}._tcp.{HOST}."
    zone = f"$ORIGIN hoster.example.\n$TTL 60\nr1 IN A {rig.ip}\n"
    lab.zones.load(f"{zone}{place} IN TLSA 3 1 1 {'ab' * 32}\n")
    found = identity(look(rig, DOMAIN, Exit.FAILED))
    assert (found["severity"], found["reason"]) == ("error", Reason.DANE_MISMATCH.word)
    record = found["remedy"].removeprefix("publish ").partition(",")[0]
    assert record.startswith(place)
    lab.zones.load(f"{zone}{record}\n")
    assert identity(view_of(rig))["what"].endswith("by DANE-EE")


def test_an_untrusted_authority_is_a_warning(lab: Lab) -> None:
    """Peers who trust what we trust would refuse it."""
    lab.zones.secure = True
    found = identity(view_of(hosted(lab, DOMAIN, by="unknown")))
    assert (found["severity"], found["reason"]) == ("warning", Reason.CERTIFICATE_REFUSED.word)
    assert "unknown-authority" in found["what"]


def test_a_resolver_that_is_not_believed_is_told(lab: Lab) -> None:
    """The way may be secure for others."""
    rig = hosted(lab, HOST)
    rig.router.validates = False
    assert any("dns.trust_ad" in line for line in identity(view_of(rig))["evidence"])


def test_an_end_that_is_near_is_told() -> None:
    """Two weeks before, with the file and the day; one that has ended is told by what it counts for."""
    one = issued(HOST)
    assert ending(one, one.not_after - 15 * 86_400) is None
    soon = ending(one, one.not_after - 3 * 86_400)
    assert soon is not None
    assert (soon.severity, one.path.name in soon.what) == ("warning", True)
    assert ending(one, one.not_after + 1) is None


def test_the_records_of_our_certificate_are_printed(lab: Lab) -> None:
    """Pasted into a signed zone they make the certificate good; without a certificate there are none."""
    lab.zones.secure = True
    a = lab.router("a.example", publish=False, settings={"trust.default_policy": "dialback+certificate"})
    assert ctl_json(a, "dns", "records", "a.example")["tlsa"] == []
    a.use_tls([issued("router.a.example", by="unknown")])
    view = ctl_json(a, "dns", "records", "a.example")
    (record,) = view["tlsa"]
    assert record.startswith(f"_{a.endpoint[1]}._tcp.router.a.example. 3600 IN TLSA 3 1 1 ")
    zone = ctl(a, "dns", "records", "a.example").output
    assert record in zone.splitlines()
    lab.zones.load(f"{zone}\nrouter.a.example. 60 IN A {a.ip}\n", "a.example")
    found = identity(look(a))
    assert (found["severity"], found["what"].endswith("by DANE-EE")) == ("good", True)
    assert told(look(a), "error") == []


def test_what_belongs_into_another_zone_is_a_comment(lab: Lab) -> None:
    """A customer pastes the text into its own zone; the hoster's record is not for there."""
    rig = hosted(lab, HOST)
    zone = ctl(rig, "dns", "records", "second.example").output
    lines = [line for line in zone.splitlines() if "TLSA 3 1 1" in line]
    assert [line.startswith("; ") for line in lines] == [True]
    assert "; Peers that ask for certificates need either a certificate that names second.example" in zone
    assert "Peers that ask" not in ctl(rig, "dns", "records", DOMAIN).output
