"""Who is who on XMPP streams, tied to the parts of the router that decide."""

from __future__ import annotations

from collections.abc import Callable

from imxrouter.app.link_parts import LinkParts
from imxrouter.gateways.xmpp.streams.tongue import XmppTongue
from imxrouter.gateways.xmpp.streams.trust import XMPP_KEY, StreamTrust
from imxrouter.transport.link import Link


def stream_trust(
    router: LinkParts,
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
