"""Why an attack failed is told alike: to who sends, in log, metric, trace and both forms of check."""

from __future__ import annotations

import random
import time
from collections.abc import Callable
from typing import Any, cast

import pytest
from cryptography.hazmat.primitives.serialization import Encoding
from twisted.internet.defer import Deferred
from twisted.logger import LogEvent

from imxrouter.cli.exits import Exit
from imxrouter.discovery.answers import TYPE_IMX, TYPE_TLSA
from imxrouter.discovery.guard import DialGuard
from imxrouter.model.domain import Domain
from imxrouter.model.vocabulary import Reason
from imxrouter.probe.check import Checker
from imxrouter.probe.encrypted import outside_probe
from imxrouter.probe.report import CheckView, Report, view_of_all
from imxrouter.transport.opening import TcpOpener
from tests.app.test_check_as import check
from tests.app.test_traces import sent_id, verdict
from tests.attacks.test_delegation import M_HOST, hijack, publish_tlsa
from tests.attacks.test_tls import BAD, refused, router
from tests.doubles.router_rig import Lab, RouterRig, authority, issued
from tests.transport.test_tls_links import cause

#: Makes whoever answers for a.example do what is no good, and tells what the note must say.
Attack = Callable[[Lab, RouterRig], str]


def _shows(kind: str) -> Attack:
    def attack(lab: Lab, b: RouterRig) -> str:
        del b
        make, word = BAD[kind]
        router(lab, "a.example", make())
        return word

    return attack


def _no_tls(lab: Lab, b: RouterRig) -> str:
    del b
    lab.router("a.example")
    return "does not speak TLS"


def _says_none(lab: Lab, b: RouterRig) -> str:
    del b
    ip, port = lab.router("a.example", publish=False).endpoint
    lab.zones.load(f"$ORIGIN a.example.\n@ 60 IN IMX 1 im1 port={port} key65280=\\000\nim1 60 IN A {ip}\n")
    return ""


def _less_than_before(lab: Lab, b: RouterRig) -> str:
    """Policy asks for TLS alone; with a good certificate it was seen before."""
    strengths = b.router.strengths
    domain = Domain("a.example")
    b.call(lambda: strengths.remembered.note(domain, 15, b.router.hub.now(), reached=True))
    router(lab, "a.example", issued("a.example", by="stranger"))
    return "unknown-authority"


def _servfail(lab: Lab, b: RouterRig) -> str:
    del b
    router(lab, "a.example")
    lab.zones.fail("a.example", TYPE_IMX)
    return ""


def _unsigned_delegation(lab: Lab, b: RouterRig) -> str:
    del b
    hijack(lab, router(lab, "a.example", issued(M_HOST)))
    return "a.example IMX"


def _other_certificate(lab: Lab, b: RouterRig) -> str:
    del b
    return publish_tlsa(lab, router(lab, "a.example"))


def _hidden_records(lab: Lab, b: RouterRig) -> str:
    hidden = _other_certificate(lab, b)
    lab.zones.fail(hidden, TYPE_TLSA)
    return hidden


ATTACKS: dict[str, tuple[Reason, str, Attack]] = {
    **{kind: (refused(kind), "dialback+certificate", _shows(kind)) for kind in BAD},
    "TLS stripped": (Reason.TLS_FAILED, "dialback+certificate", _no_tls),
    "DNS says that there is no TLS": (Reason.WEAKER_THAN_POLICY, "dialback+certificate", _says_none),
    "SERVFAIL": (Reason.DNS_FAILURE, "dialback+certificate", _servfail),
    "a delegation that nobody signed": (
        Reason.DELEGATION_INSECURE, "dialback+certificate", _unsigned_delegation),
    "another certificate than DNSSEC names": (
        Reason.DANE_MISMATCH, "dialback+certificate", _other_certificate),
    "the same without a policy": (Reason.DANE_MISMATCH, "dialback", _other_certificate),
    "hidden TLSA records": (Reason.DNS_FAILURE, "dialback+certificate", _hidden_records),
    "weaker than before": (Reason.WEAKER_THAN_REMEMBERED, "dialback+tls", _less_than_before),
}  # fmt: skip
#: What a check without a router cannot meet: it has no memory.
REMEMBERED = "weaker than before"
#: Where nobody is dialled, no dial is counted.
NOT_DIALLED = {"DNS says that there is no TLS", "SERVFAIL"}


def _outside(lab: Lab, domain: str) -> CheckView:
    """`imxctl check DOMAIN --tls --lab --trust FILE`, with the laboratory's DNS."""
    trusted = lab.folder / "trusted.pem"
    trusted.write_bytes(authority("laboratory").certificate.public_bytes(Encoding.PEM))

    def run() -> Deferred[Report]:
        reactor = lab.thread.reactor
        probe = outside_probe(time.time, always=True, trust=(str(trusted),))
        guard = DialGuard(("127.0.0.0/8",))
        return Checker(
            reactor, lab.zones.ask, guard, TcpOpener(reactor), timeout_s=5.0, chance=random.Random(1),
            random_bytes=random.Random(1).randbytes, tls=probe,
        ).run(Domain(domain))  # fmt: skip

    return view_of_all({"imx": cast("Report", lab.thread.call(run))})


def _logged(events: list[LogEvent], reason: Reason) -> list[tuple[Any, Any]]:
    return [(one.get("reason"), one.get("stage")) for one in events if one.get("reason") == reason.word]


@pytest.mark.parametrize("kind", ATTACKS)
def test_one_word_everywhere(lab: Lab, kind: str) -> None:
    """Reason and stage, and the note of what was no good where one was shown."""
    reason, policy, attack = ATTACKS[kind]
    b = router(lab, "b.example", policy=policy, settings={"log.trace_entries": 1000})
    word = attack(lab, b)
    events: list[LogEvent] = []
    lab.watch(events.append)
    ident = sent_id(b, "alice@a.example", source="bob@b.example")
    stage = reason.stage.value

    assert cause(b, "a.example")[0] is reason
    assert word in cause(b, "a.example")[1]
    trace = verdict(b, ident)
    assert (trace["stage"], trace["reason"]) == (stage, reason.word)
    logged = _logged(events, reason)
    assert logged
    assert set(logged) == {(reason.word, stage)}
    page = b.call(b.router.metrics.exposition).decode()
    counted = f'result="{reason.word}"}}'
    if kind not in NOT_DIALLED:
        assert f"imxrouter_dials_total{{{counted} 1.0" in page
    assert any(f'reason="{reason.word}"' in line and not line.endswith(" 0.0") for line in page.splitlines())
    found = check(b, "a.example", Exit.FAILED, "b.example")["failure"]
    assert (found["stage"], found["reason"]) == (stage, reason.word)
    assert word in found["note"]
    if kind == REMEMBERED:
        return
    outside = _outside(lab, "a.example")["failure"]
    assert outside is not None
    assert (outside["stage"], outside["reason"], outside["step"]) == (stage, reason.word, found["step"])
    assert word in outside["note"]
    assert (outside["what"], outside["remedy"]) == (found["what"], found["remedy"])
