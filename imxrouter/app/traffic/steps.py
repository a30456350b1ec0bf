"""What a router does for a message, step by step: events of the log and entries of the trace.

Every step off the hot path is told here: look-up, connection, claim, verification, answer. It becomes one
event of the namespace `imxrouter.steps` (level `info` in a laboratory, else `debug`) and, for each message
that waits for it, an entry of the trace ring, which `imxctl trace` shows.
"""

from __future__ import annotations

from collections.abc import Callable
from enum import StrEnum
from itertools import islice

from twisted.logger import Logger, LogLevel

from imxrouter.app.traffic.ends import MAX_ORIGIN, Ends, Facts
from imxrouter.app.traffic.full_outcomes import key_of
from imxrouter.app.traffic.rules import Rule
from imxrouter.app.traffic.settling import parties, traces_deliveries
from imxrouter.app.trust.targets import TargetDialer
from imxrouter.config.schema import Config
from imxrouter.gateways.xmpp.streams.parts import StreamLink
from imxrouter.gateways.xmpp.streams.told import Told
from imxrouter.link.claims import ClaimState
from imxrouter.link.ledger import FROM_DOMAIN, HOPS, IN_PORT, KEY, OUT_PORT, TO_DOMAIN, Entry
from imxrouter.link.machine import Side
from imxrouter.model.domain import Domain
from imxrouter.model.operations import KIND_OF, Message, Notify, Operation
from imxrouter.model.outcome import Outcome
from imxrouter.model.vocabulary import REASON_BY_WORD, Reason, Stage
from imxrouter.routing.choice import Protocol
from imxrouter.routing.interfaces import Answer, Gateway
from imxrouter.switch.ports import Role
from imxrouter.telemetry.trace import TraceRing
from imxrouter.transport.dialback import Claimer
from imxrouter.transport.federation import Federation
from imxrouter.transport.hub import Hub
from imxrouter.transport.link import Link, Purpose
from imxrouter.transport.verifier import Verifier
from imxrouter.wire.control import Control, Hello, Verify
from imxrouter.wire.describe import level_words

NAMESPACE = "imxrouter.steps"

#: Waiting messages whose trace a step enters; a thousand that wait for one domain tell the same story.
_TRACED_WAITING = 16


class Step(StrEnum):
    """The words of `step` in log lines, and of events in traces."""

    ACCEPTED = "accepted"
    HELD = "held"
    CHOICE = "choice"
    LOOKUP = "look-up"
    CONNECTION = "connection"
    LINK = "link"
    CLAIM = "claim"
    VERIFICATION = "verification"
    RELEASED = "answer released"
    PROVED = "proved"
    REFUSED = "refused"
    FAILED = "failed"
    SENT = "sent"
    DELIVERY = "delivery"
    ANSWER = "answer"


#: Ends of links that are no failure.
_IN_ORDER = frozenset({Reason.NONE, Reason.IDLE, Reason.REDIRECTED, Reason.SHUTTING_DOWN})

#: What the claimer and the verifier call their steps -> the step, and the sentence about it.
_CLAIM_STEPS = {
    "claim sent": (Step.CLAIM, "we claim {from_} towards {to}"),
    "answer released": (Step.RELEASED, "the claim of {from_} is ours: its answer goes out on this link"),
    "claim received": (Step.CLAIM, "{peer} claims {from_} towards {to}; we ask {from_} itself"),
    "verification asked": (Step.VERIFICATION, "is this claim of {from_} towards {to} yours?"),
    "domain proved": (Step.PROVED, "the answer is right: the peer speaks for {from_}"),
    "claim refused": (Step.REFUSED, "{from_} is not proved: {note}"),
}


def tells_every(config: Config) -> bool:
    """Whether the log or the trace of this configuration has each notification of an embedded user."""
    return (
        traces_deliveries(config)
        or config.log.level == "debug"
        or (config.lab and config.log.level == "info")
    )


def _unknown_policy(domain: Domain, _protocol: Protocol) -> Rule:
    return Rule(f"the policy for {domain.name}")


class Steps:
    """Listens to the parts of one router. It is a `LinkEvents`.

    Args:
        hub: links.
        trace: where messages' steps are kept.
        shown: whether steps are logged at `info`, as in a laboratory; else at `debug`.
        every: whether each notification is told too; else those alone that failed, for those of users with
            many watchers would push everything else out of the ring.
    """

    def __init__(self, hub: Hub, trace: TraceRing, *, shown: bool, every: bool) -> None:
        self._log = Logger(namespace=NAMESPACE)  # of the instance: as a class attribute it takes our name
        self._hub = hub
        self._trace = trace
        self._level = LogLevel.info if shown else LogLevel.debug
        self._every = every
        self._federation: Federation | None = None
        #: told (direction, domain, reason, note) of each failure with a peer; see `peerlog`
        self.on_failure: Callable[[str, bytes, Reason, str], None] = lambda *_: None
        #: tells of the links by which requests come and leave
        self.ends: Ends | None = None
        #: what a remote domain must prove, and which entry says so
        self.policy_of: Callable[[Domain, Protocol], Rule] = _unknown_policy

    def listen(
        self, dialer: TargetDialer, claimer: Claimer, verifier: Verifier, federation: Federation
    ) -> None:
        """Be told by the parts; links are told through `hub.events`, where this must stand first."""
        dialer.on_step = self._dialling
        claimer.on_step = self._claiming
        verifier.on_step = self._claiming
        federation.on_step = self._reaching
        federation.on_waiting = self._waiting
        self._federation = federation

    def change(self, *, every: bool) -> None:
        """Tell of each notification from now on, or of those alone that failed."""
        self._every = every

    # -- what the parts tell -----------------------------------------------------------------------------

    def _dialling(self, domain: Domain, stage: Stage, text: str, failed: str) -> None:
        step = Step.LOOKUP if stage is Stage.DNS else Step.CONNECTION
        told = {"stage": stage.value, "reason": failed} if failed else {"stage": stage.value}
        self._tell(step, text, domain=domain.name, **told)
        self._enter(domain.wire, None, step, text, **told)

    def _claiming(self, what: str, session: Link, from_domain: bytes, to_domain: bytes, note: str) -> None:
        source, destination = from_domain.decode(), to_domain.decode()
        if what == "claim settled":
            step, form = (
                (Step.PROVED, "{from_} is proved to {to}: messages may pass in both directions")
                if note == "proved"
                else (Step.REFUSED, "{to} did not accept {from_}: {note}")
            )
        else:
            step, form = _CLAIM_STEPS[what]
        text = form.format(from_=source, to=destination, note=note, peer=_place(session))
        told = {"stage": Stage.DIALBACK.value}
        reason = REASON_BY_WORD.get(note.partition(" ")[0])
        if reason is not None:
            told = {"stage": reason.stage.value, "reason": reason.word}
            if what == "claim settled":
                self.on_failure("ours", to_domain, reason, f"claim of {source}")
            else:
                self.on_failure("theirs", from_domain, reason, f"claim towards {destination}")
        self._tell(step, text, link=session.number, domains=[source, destination], **told)
        if what in {"claim sent", "claim settled", "answer released"}:
            self._enter(to_domain, from_domain, step, text, link=session.number, **told)

    def _reaching(self, what: str, domain: bytes, note: str, reason: Reason) -> None:
        if what == "chosen":
            text = f"{domain.decode()} is reached by {note}"
            self._tell(Step.CHOICE, text, domain=domain.decode())
            self._enter(domain, None, Step.CHOICE, text)
        if what == "failed":
            text = f"{domain.decode()} cannot be reached: {reason.stage.value}: {reason.word} {note}".rstrip()
            told = {"stage": reason.stage.value, "reason": reason.word}
            self._tell(Step.FAILED, text, domain=domain.decode(), **told)
            self._enter(domain, None, Step.FAILED, text, **told)
            self.on_failure("ours", domain, reason, note)

    def _waiting(self, entry: Entry, link: int) -> None:
        """A message is held (link 0), or leaves over a link after it was held."""
        step = Step.SENT if link else Step.HELD
        source, destination = entry[FROM_DOMAIN].decode(), entry[TO_DOMAIN].decode()
        text = (
            f"{source} to {destination} goes out"
            if link
            else f"{source} to {destination} waits for a link that may carry it"
        )
        ident = entry[KEY][:16]
        fields = {"link": link} if link else {}
        self._tell(step, text, id=ident.hex(), **fields)
        told: dict[str, str | int] = {**fields}
        session = self._hub.sessions.get(link)
        if session is not None:
            told["text"] = f"to {_place(session)}, {_speaks_for(session, entry)}"
        if link and self.ends is not None:
            went = {
                name.removeprefix("out_"): str(said) for name, said in self.ends.went(entry, link).items()
            }
            told |= {name: went[name] for name in ("link", "protocol", "service") if name in went}
            told["choice"] = self.ends.choice(entry)
        if entry[TO_DOMAIN] not in self._hub.switch.routes:
            protocol = Protocol.IMX if session is None else session.protocol
            rule = self.policy_of(Domain(destination), protocol)
            told |= {"rule": rule.check, "setting": rule.setting}
        sender, recipient = parties(entry)
        self._trace.add(ident, step.value, source=sender, destination=recipient, domain=destination, **told)

    def _enter(
        self, to_domain: bytes, from_domain: bytes | None, step: Step, text: str, **fields: str | int
    ) -> None:
        """Note a step in the trace of the messages that wait for it."""
        if self._federation is None:
            return
        for tag in islice(self._federation.holding.waiting(to_domain, from_domain), _TRACED_WAITING):
            entry = self._hub.switch.ledger.entries.get(tag)
            if entry is not None:
                self._trace.add(entry[KEY][:16], step.value, text=text, **fields)

    # -- links -------------------------------------------------------------------------------------------

    def opened(self, session: Link, peer: Hello | None) -> None:
        """Both hellos are there."""
        who = "we opened it" if session.side is Side.OPENER else "they opened it"
        there = f"; there: {peer.software or 'unnamed'}" if peer is not None else ", a stream of XMPP"
        text = f"to {_place(session)} is open, {who}{there}"
        self._tell(Step.LINK, text, link=session.number)

    def stream_begun(self, session: StreamLink) -> None:
        """A stream header came, or came again after TLS or SASL."""
        how = "in TLS" if session.tls is not None else "in clear"
        parties = f"between {session.own or '?'} and {session.other or '?'}"
        self._tell(Step.LINK, f"to {_place(session)}: a stream {parties} begins {how}", link=session.number)

    def stanza_refused(self, told: Told, outcome: Outcome, ident: bytes) -> None:
        """A stanza could not become a request at all; it has no id but its own.

        Args:
            told: what its sender is told by; of the addresses, which may be none, the domains alone are kept.
            outcome: why.
            ident: a message id for its trace.
        """
        reason, status = outcome.reason, outcome.status.name.lower()
        said = {"stage": reason.stage.value, "reason": reason.word}
        text = (
            f"a stanza of {told.sender} for {told.domain} is refused: {reason.word} {outcome.note}".rstrip()
        )
        self._tell(Step.REFUSED, text, domains=[told.sender, told.domain], **said)
        answers = told.type in {"error", "result"}
        self._trace.add(
            ident, "settled", source=f"@{told.sender}".encode(), destination=f"@{told.domain}".encode(),
            domain=told.domain, kind=told.kind, status=status, **said, note=outcome.note, protocol="xmpp",
            decided_by=outcome.decided_by, decided_role=outcome.decided_role,
            **{"answers" if answers else "origin": told.ident[:MAX_ORIGIN]},
        )  # fmt: skip

    def control(self, session: Link, record: Control) -> None:
        """A verification of a claim of ours came in."""
        if isinstance(record, Verify):
            source, destination = record.from_domain.decode(), record.to_domain.decode()
            text = f"{_place(session)} asks whether a claim of {source} towards {destination} is ours"
            self._tell(
                Step.VERIFICATION, text, link=session.number, domains=[source, destination],
                stage=Stage.DIALBACK.value,
            )  # fmt: skip

    def draining(self, session: Link, reason: Reason, by_peer: bool) -> None:
        """Told when it has ended."""

    def lost(self, session: Link) -> None:
        """It is gone."""
        reason = session.drop_reason
        if reason not in _IN_ORDER and session.purpose is Purpose.DATA:
            for domain in session.reached:
                self.on_failure(
                    "ours", domain, reason, f"link {session.number} ended {session.drop_note}".strip()
                )
        self._tell(
            Step.LINK, f"to {_place(session)} has ended: {reason.word}", link=session.number,
            stage=reason.stage.value, reason=reason.word,
        )  # fmt: skip

    def tick(self, now: float) -> None:
        """Nothing."""

    # -- messages of embedded services -------------------------------------------------------------------

    def sending(self, operation: Operation, answer: Answer) -> Answer:
        """A user of an embedded service sends: returns the `answer` that tells of the outcome as well."""
        if not self._every and isinstance(operation, Notify):
            return answer  # `Settling` tells of those that fail
        ident, started_at = operation.message_id, self._hub.now()
        size = len(operation.content) if isinstance(operation, Message) else 0
        kind = KIND_OF[type(operation)].name.lower()
        what = f"{size} bytes" if size else kind
        self._tell(Step.ACCEPTED, f"{operation.source} to {operation.destination}, {what}", id=ident.hex())
        self._trace.add(
            ident, Step.ACCEPTED.value, source=operation.source, destination=operation.destination,
            kind=kind, bytes=size,
        )  # fmt: skip

        def answered(outcome: Outcome) -> None:
            seconds = self._hub.now() - started_at
            status = outcome.status.name.lower()
            words = status if outcome.ok else f"the sender is told: {status}, {outcome.reason.word},"
            told = {"stage": outcome.reason.stage.value, "reason": outcome.reason.word}
            self._tell(
                Step.ANSWER, f"{words} after {seconds * 1000:.1f} ms", id=ident.hex(),
                seconds=round(seconds, 6), **told,
            )  # fmt: skip
            self._trace.add(
                ident, Step.ANSWER.value, status=status, seconds=round(seconds, 6), **told,
                text="what the sender is told", decided_by=outcome.decided_by,
                decided_role=outcome.decided_role,
            )  # fmt: skip
            answer(outcome)

        return answered

    def taken(self, message: Operation) -> None:
        """The switch has taken it: tell of the link, where it leaves at once over one that is there."""
        if not self._every and isinstance(message, Notify):
            return
        entry = self._in_flight(message)
        if entry is not None and self.ends is not None and self.ends.leaves(entry[OUT_PORT]):
            self._waiting(entry, entry[OUT_PORT])

    def _in_flight(self, message: Operation) -> Entry | None:
        switch = self._hub.switch
        known = switch.memory.seen.get(key_of(message), (0, b""))[1]
        return switch.ledger.entries.get(known) if isinstance(known, int) else None

    def watched(self, gateway: Gateway) -> Gateway:
        """Return a gateway that tells of each delivery to that gateway."""
        return _WatchedGateway(gateway, self._delivered)

    def _delivered(self, message: Operation, outcome: Outcome) -> None:
        reason = outcome.reason
        said = "" if outcome.ok else f": {reason.word}"
        words = {"stage": reason.stage.value, "reason": reason.word}
        self._tell(
            Step.DELIVERY, f"to {message.destination}{said}", id=message.message_id.hex(),
            **({} if outcome.ok else words),
        )  # fmt: skip
        entry, told = self._in_flight(message), Facts()
        session = self._hub.sessions.get(entry[IN_PORT]) if entry is not None else None
        if entry is not None and self.ends is not None and self._trace.keeps:
            told |= self.ends.came(entry) if self.ends.leaves(entry[IN_PORT]) else {}
        if entry is not None and session is not None:
            role = Role(session.port.role).name.lower()
            told |= {"link": session.number, "role": role, "hops": entry[HOPS]}
            told["text"] = f"from {_place(session)}, {_speaks_for(session, entry)}"
        self._trace.add(
            message.message_id, Step.DELIVERY.value, source=message.source, destination=message.destination,
            kind=KIND_OF[type(message)].name.lower(), status=outcome.status.name.lower(), **words,
            decided_role="service", note=outcome.note, **told,
        )  # fmt: skip

    def _tell(self, step: Step, text: str, **fields: object) -> None:
        self._log.emit(self._level, "{words}", words=text, step=step.value, **fields)


class _WatchedGateway:
    """Hands on, and tells of each delivery with its outcome."""

    def __init__(self, inner: Gateway, told: Callable[[Operation, Outcome], None]) -> None:
        self._inner = inner
        self._told = told

    def deliver(self, operation: Operation, answer: Answer) -> None:
        def answered(outcome: Outcome) -> None:
            self._told(operation, outcome)
            answer(outcome)

        self._inner.deliver(operation, answered)

    def domains(self) -> frozenset[Domain]:
        return self._inner.domains()


def _place(session: Link) -> str:
    return f"{session.remote[0]} port {session.remote[1]}"


def _speaks_for(session: Link, entry: Entry) -> str:
    """What lets that link carry that request: whose link it is, or what is proved there."""
    if session.service:
        return f"the link of service {session.service}"
    role = session.port.role
    if role is Role.UPLINK:
        return "our uplink"
    for theirs, ours in ((entry[TO_DOMAIN], entry[FROM_DOMAIN]), (entry[FROM_DOMAIN], entry[TO_DOMAIN])):
        proof = session.port.sources.get(theirs)
        if proof is not None:
            return f"{theirs.decode()} is proved there: {level_words(proof[0])}"
        made = session.made.of_pair(ours, theirs)
        if made is not None and made.state is ClaimState.PROVED:
            return f"our claim of {ours.decode()} is proved there: {level_words(made.level)}"
    return "nothing is proved there"
