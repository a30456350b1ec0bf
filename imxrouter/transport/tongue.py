"""How claims and verifications are said on links of our own: the records of the specification's section 6."""

from __future__ import annotations

from collections.abc import Callable

from imxrouter.link.claims import MadeClaim, ReceivedClaim
from imxrouter.link.token import TokenFacts, mint_token
from imxrouter.model.domain import Domain
from imxrouter.model.vocabulary import Reason
from imxrouter.routing.choice import Protocol
from imxrouter.routing.policy import Level
from imxrouter.transport.hub import Hub
from imxrouter.transport.keyring import Keys
from imxrouter.transport.link import Link
from imxrouter.transport.second_links import SecondLink
from imxrouter.wire.control import Claim, ClaimResult, Verify, Withdraw


class ImxTongue:
    """Says it in records; the `Tongue` of every link that has no other.

    Args:
        hub: links of this process.
        keys: dial-back keys.
        wall: this host's clock, seconds since 1970 (tokens expire by it).
    """

    protocol = Protocol.IMX
    renews = True

    def __init__(self, hub: Hub, keys: Keys, wall: Callable[[], float]) -> None:
        self._hub = hub
        self._keys = keys
        self._wall = wall

    def token(self, session: Link, from_domain: bytes, to_domain: bytes) -> bytes:
        """A token of the claim that is made next on the link (section 6.1)."""
        identity = self._hub.identity
        facts = TokenFacts(
            identity.server, identity.process, session.number, session.made.next_number(),
            self._hub.random_bytes(16), int(self._wall()) + self._hub.settings.token_ttl_s,
        )  # fmt: skip
        return mint_token(self._keys.signing(from_domain), from_domain, to_domain, facts)

    def claim(self, session: Link, made: MadeClaim) -> None:
        """CLAIM."""
        session.send(Claim(made.number, made.from_domain, made.to_domain, made.token))

    def result_is_proof(self, session: Link, result: ClaimResult) -> bool:
        """Whether the peer may take the claim without dial-back: by the certificate that we presented."""
        made = session.made.of_number(result.number)
        if made is None or (result.level or 0) & Level.DIALBACK_CERTIFICATE != Level.CERTIFICATE:
            return False
        return session.presents(made.from_domain)

    def result(
        self, first: Link, claim: Claim | ReceivedClaim, reason: Reason, level: int,
        nonces: tuple[bytes, ...], retry_after_s: int,
    ) -> None:  # fmt: skip
        """CLAIM_RESULT."""
        if reason is Reason.NONE:
            first.send(ClaimResult(claim.number, 0, level, None, nonces))
        else:
            first.send(ClaimResult(claim.number, reason.code, None, retry_after_s or None))

    def answers(self, first: Link) -> bool:
        """A link is used in both directions."""
        del first
        return True

    def second(self, own: Domain, peer: Domain, go_on: Callable[[Callable[[], None]], None]) -> Link:
        """A link that asks; what comes on it has the strangers' share."""
        del own, peer
        return SecondLink(self._hub, go_on)

    def may_ask(self, second: Link, own: Domain, peer: Domain) -> bool:
        """Any link of ours to the peer's router will do."""
        del second, own, peer
        return True

    def verify(self, second: Link, number: int, claim: ReceivedClaim, first: Link) -> None:
        """VERIFY."""
        view = int(first.received.view)
        second.send(Verify(number, claim.from_domain, claim.to_domain, claim.token, claim.secret, view))

    def carries(self, session: Link, domain: bytes) -> bool:
        """The ways say it all."""
        del session, domain
        return False

    def withdraw(self, session: Link, domain: bytes, reason: Reason) -> None:
        """WITHDRAW."""
        session.send(Withdraw(domain, reason.code))
