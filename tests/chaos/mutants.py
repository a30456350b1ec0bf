"""A router with one protection taken away: `python -m tests.chaos.mutants NAME` and twistd's own arguments.

Each scene of chaos must see what the one protection prevents; a scene that cannot fail shows nothing.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from dataclasses import replace
from typing import Any, Final

from twisted.scripts.twistd import run

from imxrouter.app.link_parts import LinkParts
from imxrouter.link.ledger import OUT_PORT, moved
from imxrouter.model.outcome import failure
from imxrouter.model.vocabulary import Reason
from imxrouter.switch import core, rewrite
from imxrouter.switch.checks import Checks
from imxrouter.switch.core import SwitchCore
from imxrouter.switch.ports import Port
from imxrouter.transport.holding import Holding
from imxrouter.wire.layout import FLAG_RETRY, FLAGS_OFFSET
from imxrouter.wire.record import decode_record, encode_record, response_to
from imxrouter.wire.registry import FieldType


def _epoch() -> None:
    """A retry is taken whatever memory its epoch names (specification section 8.2)."""

    def any_epoch(data: bytes, epoch: bytes) -> bytes | None:
        return rewrite.as_first(data, decode_record(data).value(FieldType.EPOCH) or epoch)

    if vars(core).pop("as_first") is not rewrite.as_first:
        raise LookupError("the switch strips retries elsewhere now")
    vars(core)["as_first"] = any_epoch


def _unacknowledged() -> None:
    """What a lost link left unacknowledged is forgotten with it (section 8.2)."""
    original = SwitchCore.remove_port

    def remove_port(
        self: SwitchCore, port: Port, now: float, why: Reason = Reason.LINK_LOST, note: str = ""
    ) -> None:
        for key in port.unacked:
            self.memory.forget(key)
        port.unacked.clear()
        original(self, port, now, why, note)

    SwitchCore.remove_port = remove_port  # type: ignore[method-assign]


def _duplicates() -> None:
    """There is no duplicate memory."""
    original = LinkParts._make_hub

    def make_hub(self: LinkParts, checks: Checks) -> None:
        original(self, replace(checks, duplicates=False))

    LinkParts._make_hub = make_hub  # type: ignore[method-assign]


def _late_first() -> None:
    """The answer to a retry is forgotten when it is acknowledged, though its first try may come yet."""

    def doubt(self: SwitchCore, tag: int) -> None:
        del self, tag

    SwitchCore.doubt = doubt  # type: ignore[method-assign]


def _given_up() -> None:
    """A request whose link was lost is answered `failure` when nobody can be reached."""
    original = Holding.give_up

    def give_up(self: Holding, tag: int, *rest: Any, **named: Any) -> None:
        entries = self._hub.switch.ledger.entries
        if tag in entries:
            entries[tag] = moved(entries[tag], entries[tag][OUT_PORT], tries=0)
        original(self, tag, *rest, **named)

    Holding.give_up = give_up  # type: ignore[method-assign]


def _refused_retry() -> None:
    """A retry that a check refuses is answered `failure`, though its first try may come yet."""
    original = SwitchCore.refuse

    def refuse(
        self: SwitchCore, port: Port, data: bytes, reason: Reason, retry_after_s: float = 0.0, note: str = ""
    ) -> None:
        if data[FLAGS_OFFSET] & FLAG_RETRY:
            outcome = failure(reason)
            self._answer(port, encode_record(response_to(decode_record(data), outcome)), b"")
        else:
            original(self, port, data, reason, retry_after_s, note)

    SwitchCore.refuse = refuse  # type: ignore[method-assign]


MUTANTS: Final[dict[str, Callable[[], None]]] = {
    "epoch": _epoch,
    "unacknowledged": _unacknowledged,
    "duplicates": _duplicates,
    "late-first": _late_first,
    "given-up": _given_up,
    "refused-retry": _refused_retry,
}


if __name__ == "__main__":
    MUTANTS[sys.argv.pop(1)]()
    sys.argv[0] = "twistd"
    run()  # type: ignore[no-untyped-call]
