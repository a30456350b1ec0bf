"""Who is who on XMPP streams, tied to the parts of the router that decide."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from imxrouter.gateways.xmpp.streams.tongue import XmppTongue
from imxrouter.gateways.xmpp.streams.trust import XMPP_KEY, StreamTrust
from imxrouter.transport.link import Link

if TYPE_CHECKING:
    from imxrouter.app.parts import Parts


def stream_trust(
    router: Parts,
    make_second: Callable[[str, str], Link],
    later: Callable[[Callable[[], None]], object],
) -> StreamTrust:
    """Give what streams claim, ask and answer to the router's claimer and verifier.

    Whatever dials to verify is set apart: `verifier.dialers`.

    Args:
        router: its parts.
        make_second: makes a stream from a domain of ours to another that is opened only to verify.
        later: does something soon.
    """
    tongue = XmppTongue(router.keyring, make_second, later)
    trust = StreamTrust(
        router.hub, router.claimer, router.verifier, tongue, router.keyring, router.bus, router.xmpp_strengths
    )
    trust.has_other_hosts = lambda: bool(router.config.drain.siblings)
    router.handover.asked[XMPP_KEY] = trust.key_asked
    router.hub.events.append(trust)
    return trust
