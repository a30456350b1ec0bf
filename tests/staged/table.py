"""Every staged failure, in the order in which a message meets it, and the reasons that none is staged for."""

from collections.abc import Mapping
from typing import Final

from imxrouter.model.vocabulary import Reason
from tests.staged import linking, passing, proving, reaching, streaming
from tests.staged.linking import LinkCase
from tests.staged.scene import Case

#: Heading of the page for operators, what to know first, and the failures.
CHAPTERS: Final[tuple[tuple[str, str, list[Case]], ...]] = (
    (
        "Another organisation cannot be reached",
        """`imxctl check DOMAIN` shows each of these from any machine, in the same words; only what this
router remembers, its back-off, it cannot show.""",
        reaching.CASES,
    ),
    (
        "One side does not take the other for what it says it is",
        """Where the peer refuses *our* claim, its answer names the peer as deciding, and the mistake is
mostly on our side: check our own domain with `imxctl check` from outside our network.""",
        proving.CASES,
    ),
    (
        "A server of XMPP does not take us",
        """The trace has what the server said, and what it offered. `imxctl check DOMAIN` shows the first
from any machine; `imxctl check DOMAIN --as OURS` proves our domain to the server and shows all.""",
        streaming.CASES,
    ),
    (
        "The message arrived and was not taken",
        "Envelope, limits, the service behind the domain, and answers that never came.",
        passing.CASES,
    ),
)

CASES: Final[list[Case]] = [case for _, _, cases in CHAPTERS for case in cases]
LINK_CASES: Final[list[LinkCase]] = linking.CASES

#: Reasons without a failure of their own here, and why. A new reason is staged, or stands here.
UNSTAGED: Final[Mapping[Reason, str]] = {
    Reason.NONE: "no failure",
    Reason.IDLE: "no failure",
    Reason.REDIRECTED: "no failure",
    Reason.NO_XMPP_RECORD: "staged with the search for XMPP servers (tests/discovery/test_xmpp_plan.py)",
    Reason.ADDRESS_TOO_LONG: "no IMX record can hold such an address; gateways to other protocols answer it",
    Reason.BACKING_OFF: "the last error is told in its place, unless the state file lost it",
    Reason.OWN_NETWORK: "told to watchers, never as an answer (tests/transport/test_liveness.py)",
    Reason.OVER_RATE: "told as busy; staged with and without its check (tests/attacks/test_limits.py)",
    Reason.OVERLOADED: "told as busy; staged with and without its check (tests/attacks/test_limits.py)",
    Reason.CERTIFICATE_REFUSED: "staged with certificates (tests/transport/test_tls_links.py)",
    Reason.OVER_RATE: "staged with its limits (tests/attacks/test_limits.py)",
    Reason.OVERLOADED: "staged with its limits (tests/attacks/test_limits.py)",
    Reason.DANE_MISMATCH: "staged with a signed zone (tests/interop/test_dnssec.py)",
    Reason.DELEGATION_INSECURE: "staged with a signed zone (tests/interop/test_dnssec.py)",
}
