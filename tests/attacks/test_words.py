"""Why an attack by way of TLS failed is told alike: to who sends, in log, metric, trace and check."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from twisted.logger import LogEvent

from imxrouter.cli.exits import Exit
from imxrouter.model.domain import Domain
from imxrouter.model.vocabulary import Reason
from tests.app.test_check_as import check
from tests.app.test_traces import sent_id, verdict
from tests.attacks.test_tls import BAD, refused, router
from tests.doubles.router_rig import Lab, RouterRig, issued
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


ATTACKS: dict[str, tuple[Reason, str, Attack]] = {
    **{kind: (refused(kind), "dialback+certificate", _shows(kind)) for kind in BAD},
    "TLS stripped": (Reason.TLS_FAILED, "dialback+certificate", _no_tls),
    "DNS says that there is no TLS": (Reason.WEAKER_THAN_POLICY, "dialback+certificate", _says_none),
    "weaker than before": (Reason.WEAKER_THAN_REMEMBERED, "dialback+tls", _less_than_before),
}


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
    if kind != "DNS says that there is no TLS":  # where nobody was dialled, no dial is counted
        assert f"imxrouter_dials_total{{{counted} 1.0" in page
    assert any(f'reason="{reason.word}"' in line and not line.endswith(" 0.0") for line in page.splitlines())
    found = check(b, "a.example", Exit.FAILED, "b.example")["failure"]
    assert (found["stage"], found["reason"]) == (stage, reason.word)
    assert word in found["note"]
