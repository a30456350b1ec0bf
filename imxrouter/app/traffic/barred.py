"""What may not pass, counted, noted and named: the ties between the gate and the rest of the process."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from imxrouter.app.traffic.knocking import KnockNotices
from imxrouter.app.traffic.rules import Rule
from imxrouter.app.traffic.settling import parties
from imxrouter.link.ledger import Entry
from imxrouter.model.address import Address, BadAddress
from imxrouter.model.domain import BadDomain
from imxrouter.model.outcome import Outcome
from imxrouter.routing.access import AccessLists, Action
from imxrouter.routing.access import Entry as ListEntry
from imxrouter.routing.gate import NOTE, Bar
from imxrouter.switch.ports import Port
from imxrouter.transport.barring import Barring

if TYPE_CHECKING:
    from imxrouter.app.parts import Parts


def watch_barred(router: Parts) -> None:
    """Tie the gate to answers, metrics, knocks and the words of traces; once, at the end of building."""
    recipients, metrics = router.access.recipients, router.metrics
    notices = KnockNotices(router)

    def told(entry: Entry, bar: Bar) -> None:
        metrics.barred.inc(bar.kind, bar.direction)
        source, destination = parties(entry)
        person = _address(source)
        if bar.right is not None and person is not None and person.local:
            user = _address(destination)
            if user is not None and recipients.knock(user.key, person, bar.right, time.time()):
                notices.tell(user, person, bar.right)

    barring = Barring(router.hub, router.reactor.callLater, told)
    before = router.switch.on_answered

    def answered(port: Port, entry: Entry, outcome: Outcome) -> None:
        barring.answered(port, entry, outcome)
        if before is not None:
            before(port, entry, outcome)

    router.switch.on_answered = answered
    router.rules.access_rule = lambda note: rule_of(router.access.lists, note)
    metrics.watch_access(lambda: entries_by(router.access.lists))


def rule_of(lists: AccessLists, note: str) -> Rule:
    """The rule that an outcome's note names."""
    name = note.removeprefix(NOTE)
    entry = lists.get(name)
    if entry is not None:
        return Rule(f"access lists: {describe(entry)}", place_of(entry))
    user, _, because = name.rpartition(": ")
    if user:
        what = "first contact" if because == "default" else f"a rule of {user} on {because}"
        setting = (
            "first_contact of [[domain]] or [[service]]" if because == "default" else f"imxctl rules {user}"
        )
        return Rule(f"rules of the recipient: {what}", setting)
    return Rule("access lists: an entry that is gone", name)


def describe(entry: ListEntry) -> str:
    """An entry in words."""
    scope = str(entry.scope)
    text = f"{entry.action.value} {entry.pattern.text}, {entry.direction.value}"
    text += f", for {scope}" if scope else ""
    return text + (f": {entry.reason}" if entry.reason else "")


def place_of(entry: ListEntry) -> str:
    """Where an entry stands."""
    if entry.at_run_time:
        return f"imxctl policy entry {entry.ident}"
    file, _, number = entry.ident.partition("#")
    return f"[[access.entry]] {number}" if file == "main" else f"{file}, entry {number}"


def entries_by(lists: AccessLists) -> dict[tuple[str, ...], float]:
    """How many entries there are, by what they do and where they come from."""
    found: dict[tuple[str, ...], float] = {}
    for action in Action:
        for origin, at_run_time in (("file", False), ("run-time", True)):
            found[action.value, origin] = float(lists.counts[action, at_run_time])
    return found


def _address(raw: bytes) -> Address | None:
    local, _, domain = raw.rpartition(b"@")
    try:
        return Address.from_wire(local, domain)
    except (BadAddress, BadDomain):
        return None
