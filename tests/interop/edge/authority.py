"""Who issues certificates here: one whom all trust, one of the insides, and one whom nobody knows.

Certificates carry DNS names only: others make ejabberd 23.01 end an inbound EXTERNAL without a word. They end
before 2100, for a date beyond it makes it lose all its certificates.
"""

from __future__ import annotations

import time
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Self

from cryptography.hazmat.primitives.serialization import Encoding

from tests.doubles.authority import CLIENT, DAY, SERVER, Authority, Issued
from tests.interop.edge.names import Mode

#: How long everything is good for, before and after now.
_BEFORE_S: Final = DAY
_AFTER_S: Final = 60 * DAY


@dataclass(frozen=True, slots=True)
class Authorities:
    """The three.

    Attributes:
        outside: vouches for everybody's public names.
        inside: vouches for what routers show the servers behind them.
        unknown: in nobody's list.
        trusted: a file with the certificates of the first two.
    """

    outside: Authority
    inside: Authority
    unknown: Authority
    trusted: Path

    @classmethod
    def made(cls, folder: Path) -> Self:
        """Make the three, and the file that servers are given."""
        folder.mkdir(parents=True)
        dates = {"not_before": time.time() - _BEFORE_S, "not_after": time.time() + _AFTER_S}
        outside, inside, unknown = (Authority.root(f"{name} root", **dates) for name in _NAMES)
        trusted = folder / "trusted.pem"
        trusted.write_bytes(b"".join(one.certificate.public_bytes(Encoding.PEM) for one in (outside, inside)))
        return cls(outside, inside, unknown, trusted)

    def issue(self, *hosts: str, by: Authority, after_s: float = _AFTER_S) -> Issued:
        """A certificate for hosts that may call and be called."""
        now = time.time()
        # what has ended must have begun before that
        began = min(now, now + after_s) - _BEFORE_S
        return by.issue(*hosts, purposes=[SERVER, CLIENT], not_before=began, not_after=now + after_s)

    def for_host(self, host: str, mode: Mode) -> Issued:
        """What a host's certificate is, for its rooms too, where the host proves itself in a certain way."""
        by = self.outside if mode is Mode.EXTERNAL else self.unknown
        return self.issue(host, f"conference.{host}", f"pubsub.{host}", by=by)


_NAMES: Final = ("outside", "inside", "unknown")
