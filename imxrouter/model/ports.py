"""Port numbers that more than one room must agree on."""

from __future__ import annotations

from typing import Final

#: Where an IMX router listens when its record names no port, and what SRV records of examples carry.
#: The protocol has no port of its own yet; 6490 to 6499 are unassigned in IANA's registry (as of 2024). It
#: lies above 1024, so that no privilege is needed, and outside the range of ephemeral ports. Records are
#: meant to name the port, so a number assigned later costs nobody a change of software.
DEFAULT_IMX_PORT: Final = 6490

#: Where an XMPP server takes streams of other servers (RFC 6120 section 14.7; IANA `xmpp-server`).
XMPP_PORT: Final = 5269
