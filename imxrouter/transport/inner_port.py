"""Ports of the switch behind which no link is, but something inside of this process (a `hub.Sink`)."""

from __future__ import annotations

from imxrouter.switch.ports import FOREVER, Port, Role, bound_proof
from imxrouter.transport.hub import Hub
from imxrouter.wire.framing import RecordSplitter
from imxrouter.wire.layout import HIGHEST_MAX_RECORD

#: What a batch may hold beside its records: the splitter's own bound on one of them.
_LARGEST = HIGHEST_MAX_RECORD + 4096
#: How many links' worth of requests and bytes may be under way: many users stand behind one such port.
_LINKS_WORTH = 4


class InnerPort:
    """Stands at a port of its own, as a service does; who extends it attaches it to the hub.

    It takes records of any size, and acknowledges answers: what was handed over cannot be lost.

    Args:
        hub: the centre of the process.

    Attributes:
        port: its end at the switch.
    """

    def __init__(self, hub: Hub) -> None:
        self._hub = hub
        self._splitter = RecordSplitter(_LARGEST)
        self.port = port = Port(hub.next_port_number(), Role.SERVICE, lambda _data: None)
        port.max_record = port.largest = HIGHEST_MAX_RECORD
        port.acknowledges = True
        port.granted_requests = port.credit_requests = hub.settings.credit_requests * _LINKS_WORTH
        port.granted_bytes = port.credit_bytes = hub.settings.credit_bytes * _LINKS_WORTH


class ServicePort(InnerPort):
    """The same for a service, which answers for domains and may send as them."""

    def bind(self, domain: bytes, interval_s: float, burst_s: float, largest: float = FOREVER) -> None:
        """It may send as this domain, within its limits, and answers for it."""
        self.port.sources[domain] = bound_proof(interval_s, burst_s, largest)
        self.port.speaks.add(domain)

    def unbind(self, domain: bytes) -> None:
        """It may no longer."""
        self.port.sources.pop(domain, None)
        self.port.speaks.discard(domain)
