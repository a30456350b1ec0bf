"""By which protocol a remote domain is reached: looks up what the rule asks for, and keeps the choice.

The rule itself is `routing.choice.choose`. A choice holds for the shortest TTL of the answers it rests on.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Final

from twisted.internet.defer import Deferred, succeed

from imxrouter.discovery.errors import DiscoveryFailed
from imxrouter.discovery.finder import Found
from imxrouter.discovery.records import Form
from imxrouter.discovery.search import Purpose
from imxrouter.model.domain import Domain
from imxrouter.model.errors import LocalMisuse
from imxrouter.model.vocabulary import Reason
from imxrouter.routing.choice import (
    DEFAULT_ORDER,
    Ask,
    Choice,
    ChoiceFacts,
    LookUp,
    NoChoice,
    Protocol,
    Publication,
    Uri,
    Why,
    choose,
)
from imxrouter.switch.presence import OF_SUBSCRIPTIONS, Lane
from imxrouter.switch.ways import STANZA, Ways
from imxrouter.transport.connector import Finds
from imxrouter.transport.pursuit import Key

#: Choices kept; one more makes room by letting the oldest go, which costs a look-up in the DNS cache.
CHOICES: Final = 10_000
#: A choice holds at least this long, whatever the TTL: answers of TTL 0 must not cost a search a message.
LEAST_S: Final = 1.0

#: A clean no: nothing of the protocol is published.
_ABSENT: Final = frozenset({Reason.NO_IMX_RECORD, Reason.NO_XMPP_RECORD, Reason.NO_SUCH_DOMAIN})


@dataclass(frozen=True, slots=True)
class Preference:
    """What configuration and policy say of one remote domain.

    Attributes:
        allowed: protocols that may be spoken to it.
        order: which of them is preferred.
        pinned: the protocol of configured addresses, which need no DNS.
    """

    allowed: frozenset[Protocol]
    order: tuple[Protocol, ...] = DEFAULT_ORDER
    pinned: Protocol | None = None


@dataclass(frozen=True, slots=True)
class Kept:
    """A choice and what it rests on.

    Attributes:
        choice: by which protocol, or why by none.
        until: how long it holds, monotonic seconds.
        look_ups: what was asked for, in that order, with what DNS said.
    """

    choice: Choice | NoChoice
    until: float
    look_ups: Mapping[Protocol, LookUp]


#: A domain, its service, and the protocol by which the operation came.
_Key = tuple[str, Uri, Protocol | None]


class Chooser:
    """Chooses, and keeps choices for their time.

    Args:
        finder: looks up.
        prefers: what is configured for a domain.
        serves: whether a domain is served here.
        remembered: the protocols by which a domain was reached before, as long as that is remembered.
        now: monotonic seconds.
    """

    def __init__(
        self,
        finder: Finds,
        prefers: Callable[[Domain], Preference],
        serves: Callable[[Domain], bool],
        remembered: Callable[[Domain], frozenset[Protocol]],
        now: Callable[[], float],
    ) -> None:
        self._finder = finder
        self._prefers = prefers
        self._serves = serves
        self._remembered = remembered
        self._now = now
        self._kept: dict[_Key, Kept] = {}

    def allowed(self, domain: Domain) -> frozenset[Protocol]:
        """The protocols by which a domain may be reached."""
        return self._prefers(domain).allowed

    def kept(self, domain: Domain, uri: Uri = Uri.IM, incoming: Protocol | None = None) -> Kept | None:
        """The choice that holds now; None where there is none."""
        return self.kept_of(domain.name, uri, incoming)

    def kept_of(self, name: str, uri: Uri = Uri.IM, incoming: Protocol | None = None) -> Kept | None:
        """The same of a domain by its name."""
        found = self._kept.get((name, uri, incoming))
        return found if found is not None and found.until > self._now() else None

    def last(self, domain: Domain, uri: Uri = Uri.IM, incoming: Protocol | None = None) -> Kept | None:
        """The choice that was made last, whether it holds still or not; None where none is known."""
        return self._kept.get((domain.name, uri, incoming))

    def choose(
        self, domain: Domain, uri: Uri = Uri.IM, incoming: Protocol | None = None
    ) -> Deferred[Choice | NoChoice]:
        """Choose for a domain.

        Args:
            domain: to be reached.
            uri: for messages or for presence (RFC 3861).
            incoming: the protocol by which the operation came; None: from a service of ours in the router's
                own form.

        Returns:
            fires with the choice, or with why there is none; never fails but by a bug.
        """
        found = self.kept(domain, uri, incoming)
        if found is not None:
            return succeed(found.choice)
        return Deferred.fromCoroutine(self._choose(domain, uri, incoming))

    def forget(self, domain: Domain | None = None) -> None:
        """Choose anew from now on, for one domain or for all: configuration or memory has changed."""
        if domain is None:
            self._kept.clear()
            return
        for uri in Uri:
            for incoming in (None, *Protocol):
                self._kept.pop((domain.name, uri, incoming), None)

    async def _choose(self, domain: Domain, uri: Uri, incoming: Protocol | None) -> Choice | NoChoice:
        preference, look_ups, ttl_s = self._prefers(domain), dict[Protocol, LookUp](), float("inf")
        nothing_else = len(preference.allowed) == 1 and not preference.pinned and not self._serves(domain)
        if nothing_else and not (uri is Uri.PRES and Protocol.IMX in preference.allowed):
            return Choice(next(iter(preference.allowed)), Why.ORDER)  # who dials looks it up
        while True:
            facts = ChoiceFacts(
                pinned=preference.pinned, served_here=self._serves(domain), incoming=incoming,
                look_ups=look_ups, allowed=preference.allowed, order=preference.order,
                remembered=self._remembered(domain),
            )  # fmt: skip
            result = choose(facts)
            if not isinstance(result, Ask):
                break
            look_ups[result.protocol], lasts_s = await self._look_up(domain, uri, result.protocol)
            ttl_s = min(ttl_s, lasts_s)
        self._keep((domain.name, uri, incoming), result, ttl_s, look_ups)
        return result

    def _keep(
        self, key: _Key, choice: Choice | NoChoice, ttl_s: float, look_ups: Mapping[Protocol, LookUp]
    ) -> None:
        """Keep a choice for its time; a failure for the least, for the DNS cache has a time for it."""
        self._kept.pop(key, None)
        if ttl_s == float("inf"):
            return  # nothing was looked up: what is configured is at hand
        while len(self._kept) >= CHOICES:
            del self._kept[next(iter(self._kept))]
        self._kept[key] = Kept(choice, self._now() + max(ttl_s, LEAST_S), look_ups)

    async def _look_up(self, domain: Domain, uri: Uri, protocol: Protocol) -> tuple[LookUp, float]:
        """Ask DNS for one protocol; returns what it says and for how long."""
        purpose = _purpose(uri, protocol)
        try:
            found: Found = await self._finder.find(domain, purpose)
        except DiscoveryFailed as error:
            answer = _absent(protocol, error)
            return answer, 0.0 if answer.publication is Publication.FAILED else error.ttl_s
        guessed = found.form is Form.XMPP_ADDRESS
        there = Publication.GUESSED if guessed else Publication.PUBLISHED
        return LookUp(there, Reason.NONE, found.secure, found.form is Form.SRV), found.ttl_s


def _purpose(uri: Uri, protocol: Protocol) -> Purpose:
    if protocol is Protocol.XMPP:
        return "xmpp"
    if protocol is Protocol.IMX:
        return "im" if uri is Uri.IM else "pres"
    raise LocalMisuse(f"nothing looks up {protocol.value}")


def _absent(protocol: Protocol, error: DiscoveryFailed) -> LookUp:
    """What it means that a look-up gave no targets: only a clean no is one."""
    if error.reason in _ABSENT:
        return LookUp(Publication.ABSENT, error.reason, error.secure)
    if error.reason is Reason.NO_SERVICE:
        declined = protocol is not Protocol.IMX
        there = Publication.DECLINED if declined else Publication.NO_SERVICE
        return LookUp(there, error.reason, error.secure)
    return LookUp(Publication.FAILED, error.reason)


def protocol_of(choice: Choice | NoChoice) -> Protocol:
    """Whose destination stands for a choice: the chosen protocol, or the one whose look-up decided."""
    return choice.protocol or Protocol.IMX


class Chosen:
    """By which protocol each domain is reached with what the router itself can say.

    Messages and presence are chosen for apart (RFC 3861). Where that is XMPP, the domain's streams are
    admitted to it, as long as the choice holds.

    Args:
        ways: to remote domains.

    Attributes:
        chooser: chooses; None: there is nothing but IMX, and one look-up for messages and presence.
        several: other protocols than IMX are spoken, too.
    """

    def __init__(self, ways: Ways) -> None:
        self._ways = ways
        self.chooser: Chooser | None = None
        self.several = False
        ways.may_stream = self.may_stream
        #: domains whose streams are admitted, and to what
        self._admitted: set[tuple[bytes, Uri]] = set()

    def known(self, domain: bytes, uri: Uri = Uri.IM) -> Protocol | None:
        """The protocol of a choice that holds now; None where one must be made."""
        if self.chooser is None or (uri is Uri.IM and not self.several):
            return Protocol.IMX
        kept = self.chooser.kept(Domain(domain.decode("ascii")), uri)
        if kept is None or not isinstance(kept.choice, Choice):
            return None
        self._admit(domain, uri, kept.choice)
        return kept.choice.protocol

    def key(self, domain: bytes, rtype: int, lane: Lane) -> Key:
        """Where a request waits: for a choice, or for links or streams to the domain.

        Args:
            domain: to which it is.
            rtype: its type.
            lane: by what its subscription lives.
        """
        if rtype == STANZA or lane is Lane.STREAMS:
            return domain, _STREAMS, Uri.IM
        uri = Uri.PRES if rtype in OF_SUBSCRIPTIONS and self.chooser is not None else Uri.IM
        protocol = Protocol.IMX if lane is Lane.LINKS else self.known(domain, uri)
        if protocol is None or (protocol is Protocol.IMX and self._is_apart(domain, uri)):
            return domain, protocol, uri
        return domain, protocol, Uri.IM

    def place(self, domain: Domain, uri: Uri, choice: Choice | NoChoice) -> Uri:
        """As what a request waits that was to be chosen for: presence stays apart where it has to."""
        if isinstance(choice, NoChoice):
            return uri
        return uri if choice.protocol is Protocol.IMX and self._is_apart(domain.wire, uri) else Uri.IM

    def _is_apart(self, domain: bytes, uri: Uri) -> bool:
        """Whether what IMX routers a domain has may differ for messages and for presence.

        So it is where nothing is known: a subscription that began over links waits for no choice.
        """
        if uri is not Uri.PRES or self.chooser is None:
            return False
        kept = self.chooser.kept(Domain(domain.decode("ascii")), uri)
        look_up = kept.look_ups.get(Protocol.IMX) if kept is not None else None
        return kept is None or (look_up is not None and look_up.apart)

    def may_stream(self, domain: bytes) -> bool:
        """Whether policy lets a domain be spoken to by streams now, whatever was chosen before (rule 4)."""
        if self.chooser is None or not self.several:
            return True  # there are none, or nothing is asked of policy
        return _STREAMS in self.chooser.allowed(Domain(domain.decode("ascii")))

    def choose(self, domain: Domain, uri: Uri = Uri.IM) -> Deferred[Choice | NoChoice]:
        """Make a choice; see `Chooser.choose`."""
        if self.chooser is None:
            return succeed(Choice(Protocol.IMX, Why.ORDER))
        choosing = self.chooser.choose(domain, uri)
        return choosing.addCallback(lambda choice: self._admit(domain.wire, uri, choice))

    def for_stanzas(self, name: str) -> Protocol | None:
        """The protocol for what came by XMPP to a domain (A-labels); None where a choice must be made.

        One choice does for messages and presence: what is published of XMPP is for both, and what is not to
        be said by XMPP is chosen for again, as the operation that it becomes.
        """
        if self.chooser is None or not self.several:
            return Protocol.IMX
        kept = self.chooser.kept_of(name, _IM, _STREAMS)
        return protocol_of(kept.choice) if kept is not None else None

    def choose_for_stanzas(self, name: str) -> Deferred[Protocol]:
        """Choose for what came by XMPP; where there is no choice, the protocol whose look-up decided."""
        if self.chooser is None or not self.several:
            return succeed(Protocol.IMX)
        return self.chooser.choose(Domain(name), Uri.IM, _STREAMS).addCallback(protocol_of)

    def why(self, domain: Domain, choice: NoChoice, uri: Uri = Uri.IM) -> str:
        """What an operator is told of a domain for which there is no protocol."""
        parts = [f"decided by {choice.protocol.value}"] if choice.protocol is not None else []
        return ", ".join([*parts, *self._look_ups(domain, uri)])

    def words(self, domain: Domain, choice: Choice, uri: Uri = Uri.IM) -> str:
        """A choice for a screen, such as `xmpp (order; imx absent, xmpp published)`."""
        protocol = choice.protocol.value if choice.protocol is not None else "our own service"
        parts = (choice.why.value, ", ".join(self._look_ups(domain, uri)))
        return f"{protocol} ({'; '.join(filter(None, parts))})"

    def reached_by(self, domain: Domain, incoming: Protocol | None) -> str:
        """The last choice for what came by a protocol, for a screen; empty where none is known."""
        if self.chooser is None:
            return ""
        kept = self.chooser.last(domain, Uri.IM, incoming) or self.chooser.last(domain)
        if kept is None:
            return ""
        protocol = kept.choice.protocol.value if kept.choice.protocol is not None else "none"
        if isinstance(kept.choice, NoChoice):
            return f"none: {kept.choice.reason.word}"
        said = [kept.choice.why.value, ", ".join(words_of(*one) for one in kept.look_ups.items())]
        return f"{protocol} ({'; '.join(filter(None, said))})"

    def _look_ups(self, domain: Domain, uri: Uri) -> list[str]:
        kept = self.chooser.kept(domain, uri) if self.chooser is not None else None
        return [words_of(*one) for one in kept.look_ups.items()] if kept is not None else []

    def tick(self) -> None:
        """End what rests on choices that hold no longer: the next request has a new one made."""
        for domain, uri in list(self._admitted):
            name = Domain(domain.decode("ascii"))
            kept = self.chooser.kept(name, uri) if self.chooser is not None else None
            if kept is None or not isinstance(kept.choice, Choice) or kept.choice.protocol is not _STREAMS:
                self._admitted.discard((domain, uri))
                self._ways.dismiss(domain, uri)

    def _admit(self, domain: bytes, uri: Uri, choice: Choice | NoChoice) -> Choice | NoChoice:
        if isinstance(choice, Choice) and choice.protocol is _STREAMS:
            self._admitted.add((domain, uri))
            self._ways.admit(domain, uri)
        elif (domain, uri) in self._admitted:
            self._admitted.discard((domain, uri))
            self._ways.dismiss(domain, uri)
        return choice


#: Whose links are streams.
_STREAMS: Final = Protocol.XMPP
_IM: Final = Uri.IM


def words_of(protocol: Protocol, look_up: LookUp) -> str:
    """A look-up for a screen, such as `imx absent (DNSSEC)`."""
    why = f": {look_up.reason.word}" if look_up.publication is Publication.FAILED else ""
    return f"{protocol.value} {look_up.publication.value}{why}{' (DNSSEC)' if look_up.secure else ''}"
