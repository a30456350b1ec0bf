"""`imxctl policy explain`: what would happen to a request, and which rule decides."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from imxrouter.admin.errors import AdminError
from imxrouter.admin.policy_views import ExplainView, PolicyStepView
from imxrouter.app.operators.asking import address_of
from imxrouter.app.operators.explaining_away import away_steps, made_step, seen_words
from imxrouter.app.traffic.rules import Rule
from imxrouter.link.ledger import Entry
from imxrouter.model.domain import Domain
from imxrouter.model.outcome import failure
from imxrouter.model.vocabulary import Reason
from imxrouter.routing.rules import Right
from imxrouter.switch.explain import walk
from imxrouter.switch.explained import Case, Step, Verdict
from imxrouter.switch.forms import ASKED, HANDED_OUT, NOTHING, SET, WHOLE
from imxrouter.switch.ports import FOREVER, Port, Proof, Role
from imxrouter.wire.registry import RecordType

if TYPE_CHECKING:
    from imxrouter.app.parts import Parts


@dataclass(frozen=True, slots=True)
class Kind:
    """What may be asked about.

    Attributes:
        rtype: its record type; of a stanza FOREIGN, as IMX carries it.
        right: what it wants of the recipient.
        part: of what a message costs its sender.
        is_presence: a stanza that carries presence.
    """

    rtype: RecordType
    right: Right | None
    part: float = WHOLE
    is_presence: bool = False


#: By the word for it. The last are stanzas of XMPP: who is there; a query; a change for which nobody's
#: program rings; and what a room says to one who is in it.
KINDS: Final[dict[str, Kind]] = {
    "message": Kind(RecordType.MESSAGE, Right.MESSAGE),
    "subscribe": Kind(RecordType.SUBSCRIBE, Right.SUBSCRIBE),
    "attributes": Kind(RecordType.ATTRIBUTES, Right.FETCH),
    "presence": Kind(RecordType.FOREIGN, None, NOTHING, is_presence=True),
    "iq-get": Kind(RecordType.FOREIGN, Right.MESSAGE, ASKED),
    "iq-set": Kind(RecordType.FOREIGN, Right.MESSAGE, SET),
    "groupchat": Kind(RecordType.FOREIGN, Right.MESSAGE, HANDED_OUT),
}


def explain(router: Parts, source: str, destination: str, kind: str, size: int) -> ExplainView:
    """Walk the checks of the switch, and those of a claim where nothing is proved yet.

    Raises:
        AdminError: an address or the kind is none.
    """
    if kind not in KINDS:
        raise AdminError("bad-request", f"{kind[:40]!r} is unknown", "kind", "one of: " + ", ".join(KINDS))
    sender, recipient = address_of(source, "from"), address_of(destination, "to")
    what = KINDS[kind]
    now = router.hub.now()
    port = _port(router, sender.domain)
    before: list[PolicyStepView] = []
    assumed = None
    if port is None:
        before, assumed = _claim(router, sender.domain)
    else:
        before = _own_source(router, sender.domain)
    case = Case(
        sender.wire, recipient.wire, _rtype(router, what, port, recipient.domain), size, what.right, port,
        assumed, what.part, what.is_presence,
    )  # fmt: skip
    refused = next((one for one in before if one["verdict"] == "refuse"), None)
    steps = before
    if refused is None:
        walked = walk(
            router.switch, case, now, lambda *args: router.rates.look(args[0], args[1], now, *args[2:])
        )
        steps = [*before, *(_view(router, case, step) for step in walked)]
        refused = next((one for one in steps if one["verdict"] == "refuse"), None)
        if refused is None and _goes_away(router, recipient.domain):
            has_way = not any(step.name == "way" and step.verdict is Verdict.WAIT for step in walked)
            size = len(case.source) + len(case.destination) + size
            steps += away_steps(router, sender.domain.wire, recipient.domain, size, has_way=has_way)
            refused = next((one for one in steps if one["verdict"] == "refuse"), None)
    reason = refused["reason"] if refused is not None else Reason.NONE.word
    waits = any(one["verdict"] == "wait" for one in steps)
    return ExplainView(
        source=str(sender), destination=str(recipient), kind=kind,
        verdict="refuse" if refused is not None else "wait" if waits else "pass",
        reason=reason,
        told=next((one.disclosed for one in Reason if one.word == reason), ""),
        decided_by=refused["step"] if refused is not None else "",
        steps=steps,
    )  # fmt: skip


def _rtype(router: Parts, what: Kind, port: Port | None, destination: Domain) -> RecordType:
    """A stanza goes as it is, where both ends are gateways of this process that speak XMPP."""
    if what.rtype is not RecordType.FOREIGN or port is None or not port.internal:
        return what.rtype
    route, ways = router.switch.routes.get(destination.wire), router.switch.ways.streams
    as_it_is = RecordType.STANZA in route.types if route is not None else destination.wire in ways
    return RecordType.STANZA if as_it_is else RecordType.FOREIGN


def _goes_away(router: Parts, domain: Domain) -> bool:
    """Whether a request to a domain leaves for a router of its own."""
    return domain.wire not in router.switch.routes and not router.switch.uplinks


def _port(router: Parts, domain: Domain) -> Port | None:
    """The link that would bring it: of a domain of ours its service's, else one on which it is proved."""
    switch, raw = router.switch, domain.wire
    route = switch.routes.get(raw)
    if route is not None:
        return next((port for port in route.ports if port.role is Role.SERVICE), switch.inside[0])
    proved = [port for port in switch.ports.values() if raw in port.sources and port.role is Role.PEER]
    return max(proved, key=lambda port: port.sources[raw][0], default=None)


def _own_source(router: Parts, domain: Domain) -> list[PolicyStepView]:
    """What keeps a domain of ours from sending before the switch sees anything."""
    record = router.domains.get(domain)
    route = router.switch.routes.get(domain.wire)
    if record is None or route is None:
        return []
    setting = f'[[domain]] name = "{record.name.name}"'
    if route.suspended:
        rule = Rule("a suspended domain", f'{setting}: state = "suspended"')
        return [made_step("state of the source", "refuse", Reason.SUSPENDED, f"{domain} is suspended", rule)]
    if not route.ports:
        text = f"no link of the service of {domain} is up: nothing comes from it now"
        return [made_step("service of the source", "wait", Reason.NONE, text, Rule("", setting))]
    return []


def _claim(router: Parts, domain: Domain) -> tuple[list[PolicyStepView], Proof | None]:
    """What a claim of a stranger's domain would meet, and what would be proved then."""
    keeper = router.gatekeeper
    if keeper.shuts_out(domain.wire):
        entry = router.access.lists.shuts_out(domain.wire)
        text = f"{domain} may not prove itself"
        rule = router.rules.access_rule(f"access rule {entry.ident}" if entry is not None else "")
        return [made_step("claim", "refuse", Reason.BLOCKED, text, rule)], None
    decision = keeper.decide(domain)
    seen = seen_words(router, domain)
    rule = router.rules.policy_of(domain)
    if not decision.accepted:
        text = f"{decision.note}; {seen}"
        return [made_step("claim", "refuse", decision.reason, text, rule)], None
    interval_s, burst_s = keeper.terms(domain.wire)
    text = f"{domain} is proved nowhere now; a claim would be verified; {seen}"
    step = made_step("claim", "wait", Reason.NONE, text, rule)
    return [step], (decision.strength, None, FOREVER, interval_s, burst_s, FOREVER)


def _view(router: Parts, case: Case, step: Step) -> PolicyStepView:
    rule = Rule("")
    if step.verdict is Verdict.REFUSE:
        note = step.bar.note if step.bar is not None else step.limit.word if step.limit is not None else ""
        rule = router.rules.of(_entry(case), failure(step.reason, note=note))
    elif step.name == "source" and case.port is not None and case.port.role is Role.PEER:
        rule = router.rules.policy_of(Domain(case.source.rpartition(b"@")[2].decode("ascii")))
    return made_step(step.name, step.verdict.value, step.reason, step.text, rule)


def _entry(case: Case) -> Entry:
    """As a ledger would have it, for the words of rules."""
    number = case.port.number if case.port is not None else 0
    key = bytes(16) + case.destination + case.source
    to_domain, from_domain = case.destination.rpartition(b"@")[2], case.source.rpartition(b"@")[2]
    return number, 0, 0, key, 0, to_domain, from_domain, case.rtype, 0, 0.0, 0, b"", 0, 0.0
