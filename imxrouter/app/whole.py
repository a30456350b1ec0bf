"""The parts of a router, and what works on all of them."""

from __future__ import annotations

from typing import Any

from imxrouter.app.parts import Parts
from imxrouter.app.reload.reloading import Reloading
from imxrouter.app.traffic.abuse import AbuseDesk
from imxrouter.app.traffic.barred import watch_barred
from imxrouter.app.trust.ended_certificates import EndedCertificates
from imxrouter.config.schema import Config
from imxrouter.discovery.finder import Ask
from imxrouter.switch.checks import ALL_CHECKS, Checks


class Whole(Parts):
    """A router that is not open yet: it ends what may not go on, reports abuse, reads its files again.

    Args: as of `Parts`.
    """

    def __init__(
        self, config: Config, reactor: Any, *, ask: Ask | None = None, checks: Checks = ALL_CHECKS
    ) -> None:
        super().__init__(config, reactor, ask=ask, checks=checks)
        watch_barred(self)
        self.ended_certificates = EndedCertificates(self)
        self.abuse = AbuseDesk(self)
        self.reloading = Reloading(self)
