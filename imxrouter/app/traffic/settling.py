"""What became of requests, told: traced and logged with the words of the registry."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from twisted.logger import Logger

from imxrouter.app.traffic.ends import Ends
from imxrouter.app.traffic.full_outcomes import FullOutcomes
from imxrouter.app.traffic.rules import Rulebook
from imxrouter.config.schema import Config
from imxrouter.link.ledger import (
    FROM_DOMAIN,
    HOPS,
    KEY,
    OUT_PORT,
    SENT,
    SINCE,
    SIZE,
    TO_DOMAIN,
    TYPE,
    Entry,
)
from imxrouter.model.operations import MESSAGE_ID_BYTES, Kind
from imxrouter.model.outcome import Outcome
from imxrouter.switch.ports import Port, Role
from imxrouter.switch.switch import Switch
from imxrouter.telemetry.trace import TraceRing
from imxrouter.wire.registry import KIND_OF_TYPE

#: Of its log lines.
NAMESPACE: Final = "imxrouter.app.router.Router"


class Settling:
    """Listens to the switch.

    Args:
        trace: where it is kept.
        full: outcomes that an operator waits for.
        rules: names the rule that decided.
        ends: tells of the links by which requests come and leave.
        now: monotonic seconds.
    """

    def __init__(
        self,
        trace: TraceRing,
        full: FullOutcomes,
        rules: Rulebook,
        ends: Ends,
        now: Callable[[], float],
    ) -> None:
        self.log = Logger(namespace=NAMESPACE)  # of the instance: as a class attribute it takes our name
        self._trace = trace
        self._full = full
        self._rules = rules
        self._ends = ends
        self._now = now

    def listen(self, switch: Switch, config: Config) -> bool:
        """Be told by the switch; returns whether plain deliveries are traced too."""
        switch.on_settled, switch.on_answered = self.settled, self.answered
        deliveries = traces_deliveries(config)
        told = deliveries and any(service.kind != "embedded" for service in config.services)
        switch.on_delivered = self.delivered if told else None
        return deliveries

    def settled(self, entry: Entry, outcome: Outcome) -> None:
        """A request did not end in the plain success of the hot path."""
        reason, status = outcome.reason, outcome.status.name.lower()
        self._full.settled(entry, outcome)
        told = {} if outcome.ok else {"stage": reason.stage.value, "reason": reason.word}
        if not outcome.ok:
            self.log.info(
                "request {id} from {source} to {domain}: {status} {reason}", id=entry[KEY][:16].hex(),
                source=entry[FROM_DOMAIN].decode(), domain=entry[TO_DOMAIN].decode(), status=status,
                note=outcome.note, **told,
            )  # fmt: skip
            rule = self._rules.of(entry, outcome)
            told |= {"rule": rule.check, "setting": rule.setting}
        self._trace.add(
            entry[KEY][:16], "settled", **self._facts(entry), status=status, **told,
            decided_by=outcome.decided_by, decided_role=outcome.decided_role, note=outcome.note,
            retry_after_s=outcome.retry_after_s or "",
        )  # fmt: skip

    def answered(self, port: Port, entry: Entry, outcome: Outcome) -> None:
        """A peer, a service or an uplink answered something else than the plain success: what it said."""
        said = outcome.reason
        told = {} if outcome.ok else {"stage": said.stage.value, "reason": said.word}
        self._trace.add(
            entry[KEY][:16], "answer received", link=port.number, role=_role(port),
            status=outcome.status.name.lower(), **told, decided_by=outcome.decided_by,
            decided_role=outcome.decided_role, note=outcome.note, retry_after_s=outcome.retry_after_s or "",
        )  # fmt: skip

    def delivered(self, entry: Entry) -> None:
        """A plain success; told only where plain deliveries are traced."""
        confirmed = self._ends.confirmed(entry)
        self._trace.add(
            entry[KEY][:16], "answered", **self._facts(entry), status="success", confirmed=confirmed
        )

    def _facts(self, entry: Entry) -> dict[str, bytes | str | float]:
        """Whom it was from and to, how it came and where it went."""
        source, destination = parties(entry)
        facts: dict[str, bytes | str | float] = {
            "source": source, "destination": destination,
            "domain": entry[TO_DOMAIN].decode("ascii", "replace"),
            "kind": KIND_OF_TYPE.get(entry[TYPE], Kind.OTHER).name.lower(), "bytes": entry[SIZE],
            "hops": entry[HOPS], **self._ends.came(entry), **self._ends.went(entry),
        }  # fmt: skip
        if entry[SINCE]:
            facts["seconds"] = round(self._now() - entry[SINCE], 6)
        if entry[OUT_PORT] and entry[SENT]:
            facts["peer_seconds"] = round(self._now() - entry[SENT], 6)
        return facts


def traces_deliveries(config: Config) -> bool:
    """Whether what is delivered at once is noted in the trace too."""
    return bool(config.log.trace_entries and (config.lab or config.log.trace_deliveries))


def parties(entry: Entry) -> tuple[bytes, bytes]:
    """Source and destination of a request, `local@domain`, as they stand in its key."""
    both = entry[KEY][MESSAGE_ID_BYTES:]
    cut = both.find(b"@" + entry[TO_DOMAIN]) + 1 + len(entry[TO_DOMAIN])
    return both[cut:], both[:cut]


def _role(port: Port) -> str:
    return Role(port.role).name.lower()
