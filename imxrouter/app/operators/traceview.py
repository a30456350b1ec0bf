"""Traces as `imxctl trace` shows them: the steps of a message, what became of it, and who wrote to whom."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Final

from imxrouter.admin.detail import TraceRow, TracesView, TraceView, VerdictView
from imxrouter.admin.errors import AdminError
from imxrouter.app.traffic.ends import Facts, origin_of
from imxrouter.app.traffic.settling import parties
from imxrouter.link.ledger import IN_PORT, KEY, OUT_PORT, RECORD, SINCE, Entry
from imxrouter.model.address import Address, BadAddress
from imxrouter.model.domain import BadDomain, Domain
from imxrouter.model.operations import MESSAGE_ID_BYTES
from imxrouter.model.outcome import Outcome, failed_at
from imxrouter.model.vocabulary import REASON_BY_WORD
from imxrouter.telemetry.trace import TraceEntry, Wanted
from imxrouter.wire.record import decode_outcome, decode_record

if TYPE_CHECKING:
    from imxrouter.app.parts import Parts

#: Messages listed by one search; what a person can read, and an answer of some 300 KB.
_MOST_ROWS: Final = 1000
#: Entries of the duplicate memory looked at for one id: 50 ms of the reactor's time at most.
_MOST_LOOKED_AT: Final = 1_000_000
#: Characters of an id that is asked for; those of other protocols have 255 bytes at most.
_LONGEST_ID: Final = 255
#: Messages with the same id of another protocol that are named.
_MOST_OTHERS: Final = 5
#: Events that say what became of a message, the most telling last.
_ENDS: Final = ("answered", "delivery", "answer", "settled")


def trace_view(router: Parts, text: str) -> TraceView:
    """All that is known of a message.

    Args:
        router: whose ring.
        text: its id in hexadecimal, or the id that it had where it came from: of a stanza, for instance.

    Raises:
        AdminError: it can be no id, or nothing is known.
    """
    if not 0 < len(text) <= _LONGEST_ID:
        raise AdminError("bad-request", f"an id has 1 to {_LONGEST_ID} characters", "id", "")
    ident, others = _message_id(text), list[bytes]()
    steps = router.trace.find(ident)
    flying = _in_flight(router, ident)
    remembered = None if steps or flying else _remembered(router, ident)
    if not steps and flying is None and remembered is None:
        ident, *others = _of_origin(router, text) or [b""]
        steps, flying = router.trace.find(ident), _in_flight(router, ident)
    if not steps and flying is None and remembered is None:
        what = "no step of that message is known any more"
        raise AdminError("not-found", what, "id", " ".join(_limits(router)))
    verdict = remembered or (_verdict(steps) if flying is None else None)
    gaps = _gaps(router, steps)
    origin = next((said for step in steps if (said := step.get("origin"))), "")
    answers = router.trace.of_origin(origin, "answers") if origin else []
    if answers:
        gaps.insert(0, f"answered by a stanza with the same id: {_named(answers)}")
    if others:
        gaps.insert(0, f"ids of other protocols are not unique: {len(others)} more had it: {_named(others)}")
    if flying is not None:
        gaps.insert(0, _flying(router, flying))
    if remembered is not None:
        gaps.insert(0, "its outcome is remembered for duplicates; when it was answered is not")
    return TraceView(
        id=ident.hex(), state="in flight" if flying else "finished" if verdict else "unknown",
        steps=[{"at": step.at_s, "event": step.event, "fields": dict(step.fields)} for step in steps],
        verdict=verdict, gaps=gaps,
    )  # fmt: skip


def _named(idents: list[bytes]) -> str:
    return ", ".join(one.hex() for one in idents[:_MOST_OTHERS])


def _message_id(text: str) -> bytes:
    """The message id that a text is; empty where it is none."""
    try:
        ident = bytes.fromhex(text)
    except ValueError:
        return b""
    return ident if len(ident) == MESSAGE_ID_BYTES else b""


def _of_origin(router: Parts, text: str) -> list[bytes]:
    """Messages with that id of another protocol: those in flight, and those that were traced."""
    said, wanted = text.encode(), (text, False)
    records = (
        (entry[KEY][:MESSAGE_ID_BYTES], entry[RECORD]) for entry in router.switch.ledger.entries.values()
    )
    flying = [ident for ident, record in records if said in record and origin_of(record) == wanted]
    return list(dict.fromkeys([*flying, *router.trace.of_origin(text)]))


def traces_view(router: Parts, source: str, destination: str, since_s: float | None) -> TracesView:
    """The messages from and to an address or a domain.

    Args:
        router: whose ring.
        source: address or domain; empty: any.
        destination: the same.
        since_s: only what happened in so many last seconds; None: all that is kept.

    Raises:
        AdminError: neither is given, or one is no address.
    """
    if not source and not destination:
        raise AdminError("bad-request", "say from whom or to whom", "from", "imxctl trace --from a.example")
    sender, recipient = _wanted(router, source, "from"), _wanted(router, destination, "to")
    start = None if since_s is None else time.time() - since_s
    found = router.trace.search(sender, recipient, start)
    flying = {entry[KEY][:MESSAGE_ID_BYTES] for entry in router.switch.ledger.entries.values()}
    rows = [_row(ident, steps, flies=ident in flying) for ident, steps in found.items()]
    notes = [
        f"log.addresses keeps no users: all of {one.domain} are listed" for one in (sender, recipient)
        if one is not None and one.unkept
    ]  # fmt: skip
    return TracesView(
        messages=rows[:_MOST_ROWS][::-1], left_out=max(0, len(rows) - _MOST_ROWS),
        notes=notes + _limits(router),
    )  # fmt: skip


def _wanted(router: Parts, text: str, where: str) -> Wanted | None:
    if not text:
        return None
    try:
        address = Address.parse(text) if "@" in text else Address("", Domain.parse(text))
        return router.trace.wanted(address)
    except (BadAddress, BadDomain) as error:
        raise AdminError("bad-request", str(error), where, "write local@domain or a domain") from None


# -- one message -----------------------------------------------------------------------------------------


def _verdict(steps: list[TraceEntry]) -> VerdictView | None:
    ends = [step for step in steps if step.event in _ENDS]
    if not ends:
        return _passed(steps)
    last = max(ends, key=lambda step: _ENDS.index(step.event))
    said = next((step for step in reversed(steps) if step.event == "answer received"), None)
    by, role = last.get("decided_by"), last.get("decided_role")
    to = next((name for step in steps if (name := _domain_of(step.get("destination")))), "")
    if last.get("status") == "success" and not by:  # the recipient's service has it
        by, role = to, "service"
    return _verdict_view(
        last.get("status"), last.get("reason"), by, role, to,
        rule=last.get("rule"), setting=last.get("setting"), note=last.get("note"), answer=_said(said),
        retry_after_s=int(last.get("retry_after_s") or 0),
    )  # fmt: skip


def _passed(steps: list[TraceEntry]) -> VerdictView | None:
    """What went out and is not under way any more was delivered: every other end is noted."""
    sent = next((step for step in reversed(steps) if step.event == "sent"), None)
    if sent is None:
        return None
    to = _domain_of(sent.get("destination"))
    return _verdict_view("success", "", to, "service", to, answer="the plain success: its time is not kept")


def _verdict_view(
    status: str, word: str, by: str, role: str, to: str, *, rule: str = "", setting: str = "", note: str = "",
    answer: str = "", retry_after_s: int = 0,
) -> VerdictView:  # fmt: skip
    reason = REASON_BY_WORD.get(word)
    view = VerdictView(
        status=status, stage="", reason="", decided_by=by, decided_role=role or "router", failed_at="",
        rule=rule, setting=setting, answer=answer, note=note, remedy="", retry="",
        retry_after_s=retry_after_s,
    )  # fmt: skip
    if reason is not None and status != "success":
        view["stage"], view["reason"] = reason.stage.value, reason.word
        view["failed_at"] = failed_at(reason, by, to)
        view["remedy"], view["retry"] = reason.remedy, reason.retry.value
    return view


def _said(step: TraceEntry | None) -> str:
    """The other side's answer in one line."""
    if step is None:
        return ""
    by = " ".join(filter(None, (step.get("decided_role"), step.get("decided_by"))))
    words = [
        step.get("status"),
        step.get("reason"),
        f"by {by}" if by else "",
        f"over link {step.get('link')}",
    ]
    note = step.get("note")
    return " ".join(filter(None, words)) + (f" ({note})" if note else "")


def _domain_of(address: str) -> str:
    return address.rpartition("@")[2]


def _in_flight(router: Parts, ident: bytes) -> Entry | None:
    if not ident:
        return None
    entries = router.switch.ledger.entries.values()
    return next((entry for entry in entries if entry[KEY].startswith(ident)), None)


def _flying(router: Parts, entry: Entry) -> str:
    """Where a message is now."""
    source, destination = (router.mask.address(one) for one in parties(entry))
    came, went = router.ends.came(entry), router.ends.went(entry)
    age = f"{router.hub.now() - entry[SINCE]:.1f} s ago from {_link(router, entry[IN_PORT], came)}"
    gone = {name.removeprefix("out_"): said for name, said in went.items()}
    where = f"went out over {_link(router, entry[OUT_PORT], gone)}" if went else "waits for a link"
    return f"{source} to {destination} came {age}, {where} and is not answered yet"


def _link(router: Parts, number: int, facts: Facts) -> str:
    session, port = router.hub.sessions.get(number), router.switch.ports.get(number)
    said = {name: str(value) for name, value in facts.items()}
    if session is None and port is not None and not said.get("protocol"):
        return "this process"
    if session is None and port is None:
        return "a link that is gone"
    name = f" of service {said['service']}" if said.get("service") else ""
    remote = f", {session.remote[0]}" if session is not None else ""
    return f"{said.get('protocol', '')} link {said.get('link')} ({said.get('role', '')}{name}{remote})"


def _remembered(router: Parts, ident: bytes) -> VerdictView | None:
    """The stored answer, where the memory of duplicates still has it; looked for unless it is huge."""
    if not ident or len(router.switch.memory.seen) > _MOST_LOOKED_AT:
        return None
    for key, (_, known) in router.switch.memory.seen.items():
        if key.startswith(ident) and isinstance(known, bytes):
            outcome: Outcome = decode_outcome(decode_record(known))
            word = "" if outcome.ok else outcome.reason.word
            to = _domain_of(key.decode("utf-8", "replace"))
            by = outcome.decided_by or (to if not outcome.ok else "")
            return _verdict_view(
                outcome.status.name.lower(), word, by, outcome.decided_role, to,
                retry_after_s=outcome.retry_after_s, answer="as the sender was told",
            )  # fmt: skip
    return None


def _gaps(router: Parts, steps: list[TraceEntry]) -> list[str]:
    gaps = []
    if any(step.event == "settled" and step.get("role") == "peer" for step in steps):
        gaps.append("hops before the peer are known to its own router: ask its operator for this id")
    if not steps and not router.traces_deliveries:
        gaps += _limits(router)
    return gaps


def _limits(router: Parts) -> list[str]:
    """What the ring does not hold, for whoever finds nothing there."""
    log = router.config.log
    if not log.trace_entries:
        return ["log.trace_entries = 0: nothing is traced"]
    limits = [
        f"steps are kept for {log.trace_age_s:g} s at most, {log.trace_entries} of them, by each process."
    ]
    if not router.traces_deliveries and any(service.kind != "embedded" for service in router.config.services):
        limits.append(
            "Plain deliveries from and to services of their own are not traced unless log.trace_deliveries "
            "is set; what was refused, failed or had to wait always is."
        )
    return limits


# -- many messages ---------------------------------------------------------------------------------------


def _row(ident: bytes, steps: list[TraceEntry], *, flies: bool) -> TraceRow:
    verdict = None if flies else _verdict(steps)

    def first(*names: str) -> str:
        return next((said for name in names for step in steps if (said := step.get(name))), "")

    return TraceRow(
        id=ident.hex(), at=steps[0].at_s, kind=first("kind"), source=first("source"),
        destination=first("destination", "domain"), steps=len(steps), last=steps[-1].event,
        status=verdict["status"] if verdict else "", stage=verdict["stage"] if verdict else "",
        reason=verdict["reason"] if verdict else "", origin=first("origin"),
        protocol=_protocol(steps, sent=False),
        out_protocol=first("out_protocol") or _protocol(steps, sent=True),
    )  # fmt: skip


def _protocol(steps: list[TraceEntry], *, sent: bool) -> str:
    """What a message came by, or left by: a step that sends names its own."""
    found = (step.get("protocol") for step in steps if (step.event == "sent") == sent)
    return next(filter(None, found), "")
