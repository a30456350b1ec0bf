"""How claims, verifications and their results are said on XMPP streams (XEP-0220, XEP-0178).

`transport.dialback.Claimer` and `transport.verifier.Verifier` decide, as they do on our own links. Two things
are otherwise. A key is bound to the receiving side's stream id, not to a TLS session, so nothing comes back
on the first stream: the answer to the question is the proof. And a stream has one direction, unless it was
made bidirectional (XEP-0288): who proved himself on a stream that he opened is not sent anything there.
"""

from __future__ import annotations

import hmac
from collections.abc import Callable
from typing import Final, cast

from imxrouter.gateways.xmpp.keys import key_for
from imxrouter.gateways.xmpp.names import claim_error
from imxrouter.gateways.xmpp.say import DbType
from imxrouter.gateways.xmpp.steps import StreamRole
from imxrouter.gateways.xmpp.streams.parts import StreamLink
from imxrouter.link.claims import MadeClaim, ReceivedClaim
from imxrouter.link.machine import LinkState
from imxrouter.model.domain import Domain
from imxrouter.model.vocabulary import Reason
from imxrouter.routing.choice import Protocol
from imxrouter.transport.keyring import Keys
from imxrouter.transport.link import Link
from imxrouter.wire.control import Claim, ClaimResult

#: The domain's own servers say that the key is not theirs: the claim is false, and not only unproved.
_DEFINITE: Final = frozenset({Reason.DIALBACK_REFUSED, Reason.BAD_TOKEN})
#: Ends of what was proved that nobody is to blame for: we do not serve the domain, or it was long ago.
_NO_FAULT: Final = frozenset({Reason.NONE, Reason.NOT_PROVED})
#: The token of a claim that was made by SASL EXTERNAL: there is no key.
NO_KEY: Final = b""
#: (id of the stream on the receiving side, our domain, theirs)
KeyPlace = tuple[str, str, str]


def xmpp_secret(key: bytes) -> bytes:
    """The secret of a domain's XMPP keys, made of a dial-back key of it that signs our own tokens.

    All hosts and processes of the domain have those, so that each recognises what another made.
    """
    return hmac.digest(key, b"xmpp", "sha256")


class XmppTongue:
    """Says it in elements of dial-back; the `Tongue` of every stream of a peer.

    Args:
        keys: dial-back keys of served domains.
        make_second: makes a stream from a domain of ours to another that is opened only to verify.
        later: does something soon.

    Attributes:
        claimed: places that the keys of our claims name, and the number of the stream. A key of ours is good
            only where one stands here.
        asked: (number of the stream, our domain, theirs, id of the first stream) of each question that has no
            answer yet: its number, and the stream and claim that it is about.
        checking: places that the keys of checks name while those are under way; good as those of claims are.
        settle: told (stream, claim) of one that needs no answer, for SASL EXTERNAL has proved it.
    """

    protocol = Protocol.XMPP
    #: A server that took us for a domain does so as long as the stream lives.
    renews = False

    def __init__(
        self,
        keys: Keys,
        make_second: Callable[[str, str], Link],
        later: Callable[[Callable[[], None]], object],
    ) -> None:
        self._keys = keys
        self.make_second = make_second
        self._later = later
        self.claimed: dict[KeyPlace, int] = {}
        self.checking: set[KeyPlace] = set()
        self._places: dict[int, set[KeyPlace]] = {}
        self.asked: dict[tuple[int, str, str, str], tuple[int, Link, int]] = {}
        self.settle: Callable[[StreamLink, MadeClaim], None] = lambda _session, _made: None

    # -- our claims --------------------------------------------------------------------------------------

    def token(self, session: Link, from_domain: bytes, to_domain: bytes) -> bytes:
        """The key (XEP-0185)."""
        secret = xmpp_secret(self._keys.signing(from_domain))
        stream_id = _stream(session).machine.stream_id
        return key_for(secret, to_domain.decode("ascii"), from_domain.decode("ascii"), stream_id).encode()

    def key_of_check(self, place: KeyPlace) -> str:
        """A key for a stream on which a check proves a domain of ours; take the place out when it has."""
        stream_id, ours, theirs = place
        self.checking.add(place)
        return key_for(xmpp_secret(self._keys.signing(ours.encode("ascii"))), theirs, ours, stream_id)

    def claim(self, session: Link, made: MadeClaim) -> None:
        """`<db:result>` with the key; nothing for a pair that SASL EXTERNAL has proved."""
        stream, ours, theirs = _stream(session), made.from_domain.decode(), made.to_domain.decode()
        if stream.machine.external and stream.machine.may_write(ours, theirs):
            self._later(lambda: self.settle(stream, made))
            return
        place = (stream.machine.stream_id, ours, theirs)
        self.claimed[place] = session.number
        self._places.setdefault(session.number, set()).add(place)
        stream.claim(ours, theirs, made.token.decode("ascii"))

    def result_is_proof(self, session: Link, result: ClaimResult) -> bool:
        """It is: the peer has asked for itself, or did not have to. Who the peer is was judged before."""
        del session, result
        return True

    # -- their claims ------------------------------------------------------------------------------------

    def result(
        self, first: Link, claim: Claim | ReceivedClaim, reason: Reason, level: int,
        nonces: tuple[bytes, ...], retry_after_s: int,
    ) -> None:  # fmt: skip
        """`<db:result>` with a type, or the answer to SASL EXTERNAL."""
        del level, nonces, retry_after_s  # there are no words for them
        stream = _stream(first)
        if _token(claim) == NO_KEY:
            (stream.not_authenticated if reason is not Reason.NONE else stream.authenticated)()
            return
        theirs, ours = claim.from_domain.decode("ascii"), claim.to_domain.decode("ascii")
        if reason is Reason.NONE:
            stream.proved((theirs, ours), ours=False)
            stream.answer_claim(ours, theirs, DbType.VALID)
        elif reason in _DEFINITE and not stream.machine.pairs and not first.received.waiting:
            stream.answer_claim(ours, theirs, DbType.INVALID)
            first.end(reason)  # XEP-0220 section 2.2.1: nothing else is on it
        else:
            # Who opened the stream was told that errors are understood here, so it understands them.
            stream.answer_claim(ours, theirs, DbType.ERROR, claim_error(reason))

    def answers(self, first: Link) -> bool:
        """Only on a bidirectional stream, and only between the domains that are proved on it (XEP-0288)."""
        return _stream(first).machine.pairs.bidi

    # -- questions ---------------------------------------------------------------------------------------

    def second(self, own: Domain, peer: Domain, go_on: Callable[[Callable[[], None]], None]) -> Link:
        """A stream from one to the other; until a domain is proved it takes little, whoever asked for it."""
        del go_on
        return self.make_second(own.name, peer.name)

    def may_ask(self, second: Link, own: Domain, peer: Domain) -> bool:
        """A stream to the very domain; or to another of the same server, if it understands errors.

        An unknown domain would else be answered by the end of the stream (XEP-0220 section 2.6.2).
        """
        del own  # one stream may speak for several of ours (section 2.6.1)
        stream = _stream(second)
        return stream.role is StreamRole.S2S_OUT and (
            stream.other == peer.name or stream.machine.features.errors
        )

    def verify(self, second: Link, number: int, claim: ReceivedClaim, first: Link) -> None:
        """`<db:verify>`."""
        theirs, ours = claim.from_domain.decode("ascii"), claim.to_domain.decode("ascii")
        first_id = _stream(first).machine.stream_id
        self.asked[second.number, ours, theirs, first_id] = (number, first, claim.number)
        _stream(second).ask_verify(ours, theirs, first_id, claim.token.decode("utf-8", "surrogatepass"))

    # -- the end -----------------------------------------------------------------------------------------

    def carries(self, session: Link, domain: bytes) -> bool:
        """Whether a pair with the domain is proved on the stream."""
        name, pairs = domain.decode("ascii"), _stream(session).machine.pairs
        return any(name in pair for pair in (*pairs.theirs, *pairs.ours))

    def withdraw(self, session: Link, domain: bytes, reason: Reason) -> None:
        """There is no word for it. A stream that we opened goes on for others; one of theirs ends in order.

        Its opener would else go on to send for a pair that is not proved any more, which ends it at once.
        """
        stream, name = _stream(session), domain.decode("ascii")
        pairs = stream.machine.pairs
        opened = stream.role is StreamRole.S2S_OUT
        if opened:
            for ours, table in ((True, pairs.ours), (False, pairs.theirs)):
                for pair in [pair for pair in table if name in pair]:
                    stream.unproved(pair, ours=ours)
        if session.machine.state is LinkState.OPEN and not (opened and pairs):
            session.close(Reason.IDLE if reason in _NO_FAULT else reason)

    def forget(self, session: Link) -> None:
        """A stream is gone: keys of it are good for nothing any more, and nothing is answered on it."""
        number = session.number
        for place in self._places.pop(number, ()):
            if self.claimed.get(place) == number:  # else another stream was given the same id since
                del self.claimed[place]
        for question in [
            one for one, (_, first, _) in self.asked.items() if number in (one[0], first.number)
        ]:
            del self.asked[question]


def _stream(session: Link) -> StreamLink:
    """A link that has this tongue is a stream."""
    return cast("StreamLink", session)


def _token(claim: Claim | ReceivedClaim) -> bytes:
    return claim.token
