"""Links that are kept to aggregators of ours, tied to the other parts."""

from __future__ import annotations

import random

from imxrouter.app.link_parts import LinkParts
from imxrouter.app.trust.keys import key_bytes, uplink_key
from imxrouter.config.trust import Uplink
from imxrouter.transport.services import UplinkDialer


class Uplinks:
    """See the module.

    Args:
        router: the other parts; its domains are entered already.

    Attributes:
        dialers: what keeps each, by name.
        terms: each with the bytes of its key, as it was made.

    Raises:
        BadKey: the file of a key cannot be read, or holds none.
    """

    def __init__(self, router: LinkParts) -> None:
        self._router = router
        self.dialers: dict[str, UplinkDialer] = {}
        self.terms: dict[str, tuple[Uplink, bytes]] = {}
        for uplink in router.config.uplinks:
            self.add(uplink)

    def add(self, uplink: Uplink) -> UplinkDialer:
        """One more, not dialled yet.

        Raises:
            BadKey: the file of its key cannot be read, or holds none.
        """
        router = self._router
        own = next((record.name for record in router.domains), None)
        open_link = router.link_tls.uplink_opener(uplink, own)
        dialer = self.dialers[uplink.name] = UplinkDialer(
            router.hub, router.reactor, open_link, uplink_key(uplink.key_file),
            (router.rates.interval_s, router.rates.burst_s), random.SystemRandom().random,
        )  # fmt: skip
        self.terms[uplink.name] = (uplink, key_bytes(uplink))
        router.hub.events.append(dialer)
        return dialer

    def end(self, name: str) -> None:
        """Close one in order, and dial it no more."""
        del self.terms[name]
        dialer = self.dialers.pop(name)
        dialer.stop()
        self._router.hub.events.remove(dialer)

    def begin(self) -> None:
        """In service: dial them all, each at a moment of its own."""
        for dialer in self.dialers.values():
            dialer.begin()
