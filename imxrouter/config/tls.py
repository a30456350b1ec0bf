"""The section about TLS: our certificates, and whom we trust."""

from __future__ import annotations

from typing import Annotated, Literal

from imxrouter.config.fields import key
from imxrouter.config.sections import Section

#: The word in `trust` for the authorities of the system.
SYSTEM = "system"


class Tls(Section, frozen=True):
    """Our certificates, and whose we trust. docs/operators/certificates.md says how to put and renew them."""

    certificates: Annotated[
        str,
        key(
            "Folder of our certificates and their keys: `NAME.crt` with `NAME.key`, `fullchain.pem` with "
            "`privkey.pem`, or both in `NAME.pem`; also two folders deep. Empty: links of peers are in "
            "clear.",
            path=True,
            example="/etc/imxrouter/certificates",
        ),
    ] = ""
    watch_s: Annotated[
        float,
        key(
            "How often the folder is looked at; what changed is taken when it stayed the same for one such "
            "time. 0: only at SIGHUP and `imxctl certs reload`.",
            unit="s",
            ge=0,
            le=3600,
        ),
    ] = 10.0
    trust: Annotated[
        tuple[str, ...],
        key(
            "Who may vouch for peers: `system` for the authorities of this host, and PEM files of others.",
            path=True,
            words=(SYSTEM,),
        ),
    ] = (SYSTEM,)
    minimum: Annotated[Literal["1.2", "1.3"], key("The least version of TLS.")] = "1.2"
