"""The section about TLS: our certificates, and whom we trust."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Annotated, Literal

from imxrouter.config.fields import key
from imxrouter.config.sections import Section

if TYPE_CHECKING:
    from imxrouter.config.schema import Config

#: The word in `trust` for the authorities of the system.
SYSTEM = "system"


class Tls(Section, frozen=True):
    """Our certificates, and whose we trust. docs/operators/certificates.md says how to put and renew them."""

    certificates: Annotated[
        str,
        key(
            "Folder of our certificates and their keys: `NAME.crt` with `NAME.key`, `fullchain.pem` with "
            "`privkey.pem`, or both in `NAME.pem`; also two folders deep. Empty: no TLS is offered.",
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


def tls_problems(config: Config) -> Iterator[tuple[str, str, str]]:
    """What contradicts itself: path, what is wrong, what to do."""
    tls = config.tls
    if not tls.trust:
        yield "tls.trust", "nobody is trusted", f'write "{SYSTEM}", or the PEM file of an authority'
    for word in sorted({word for word in tls.trust if tls.trust.count(word) > 1}):
        yield "tls.trust", f"{word} stands twice", "keep one of the two"
    for n, domain in enumerate(config.domains):
        if domain.certificate and not tls.certificates:
            do = "write tls.certificates, or remove it"
            yield f"domain[{n}].certificate", "stands without [tls] certificates", do
