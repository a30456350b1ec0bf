"""Which rule decided: the check that was made, and the configuration entry (or the memory) that it reads.

For traces. Asked only where something did not simply succeed, and at the moment of the decision, so that what
is told is what held then. No rule names a user: an exception for a sender is told as such.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Final

from imxrouter.app.trust.gatekeeper import Gatekeeper
from imxrouter.config.schema import Config
from imxrouter.link.ledger import FROM_DOMAIN, IN_PORT, KEY, OUT_PORT, TO_DOMAIN, Entry
from imxrouter.model.address import BadAddress, address_key
from imxrouter.model.domain import BadDomain, Domain
from imxrouter.model.limits import LIMIT_BY_WORD, Limit
from imxrouter.model.outcome import Outcome
from imxrouter.model.vocabulary import Reason, Stage
from imxrouter.routing.choice import Protocol
from imxrouter.routing.domains import ServedDomain, ServedDomains
from imxrouter.routing.gate import NOTE
from imxrouter.routing.policy import Policy
from imxrouter.switch.ports import Port, Role


@dataclass(frozen=True, slots=True)
class Rule:
    """What decided.

    Attributes:
        check: the check, in words.
        setting: the entry of the configuration that it reads, as it stands there; empty where none does.
    """

    check: str
    setting: str = ""


#: Reasons whose check reads nothing that depends on the domains: the check, and keys of the configuration.
_PLAIN: Final[dict[Reason, tuple[str, tuple[str, ...]]]] = {
    Reason.BAD_RECORD: ("form of the record", ()),
    Reason.BAD_ADDRESS: ("form of both addresses", ()),
    Reason.ADDRESS_TOO_LONG: ("length of both addresses", ()),
    Reason.UNKNOWN_CRITICAL: ("critical fields are known", ()),
    Reason.BAD_BODY: ("From and To of the body are those of the envelope", ()),
    Reason.NOT_SUBSCRIBED: ("a notification has a live subscription", ()),
    Reason.HOLD_FULL: ("what may wait for a domain", ("dial.hold_count", "dial.hold_bytes")),
    Reason.SUPERSEDED: ("of what waits, the newest notification counts", ()),
    Reason.LOOP: ("no request comes back with fewer hops left", ()),
    Reason.TOO_MANY_HOPS: ("hops left", ("links.max_hops",)),
    Reason.ID_REUSED: ("an id stands for one content", ("links.duplicate_window_s",)),
    Reason.EPOCH_UNKNOWN: ("a retry names this duplicate memory", ("links.duplicate_window_s",)),
    Reason.LINK_LOST: ("the link lived until the answer", ()),
    Reason.ANSWER_TIMEOUT: ("time for an answer", ("links.answer_timeout_s",)),
    Reason.STATE_UNAVAILABLE: ("the state file can be written", ("state_dir",)),
    Reason.ADDRESS_REFUSED: (
        "addresses and ports that are dialled", ("dial.allow_networks", "dial.allow_ports_below_1024"),
    ),
    Reason.CONNECTION_REFUSED: ("a connection to a target", ()),
    Reason.CONNECT_TIMEOUT: ("time for a connection", ("dial.connect_timeout_s", "dial.hold_s")),
    Reason.UNREACHABLE: ("a connection to a target", ()),
    Reason.BACKING_OFF: ("waits after failures", ("dial.backoff_first_s", "dial.backoff_cap_s")),
    Reason.HELLO_TIMEOUT: ("time for a hello", ("dial.hello_timeout_s",)),
    Reason.KEEPALIVE_TIMEOUT: ("a link is not silent", ("links.dead_s",)),
    Reason.PROTOCOL_ERROR: ("the other side speaks IMX", ()),
    Reason.VERSION_MISMATCH: ("a common version of IMX", ()),
    Reason.UNREAD_ANSWERS: ("answers are read", ("links.unread_answer_bytes",)),
    Reason.NO_COMMON_PROOF: ("a proof that we can give and the other side takes", ("tls.certificates",)),
    Reason.NOT_HOSTED: ("the server that DNS leads to hosts the domain", ()),
    Reason.DIALBACK_TIMEOUT: ("time for a claim", ("dialback.claim_timeout_s",)),
    Reason.DIAL_LIMIT: ("verifications at a stranger's word", ("caps.verify_per_s",)),
    Reason.OVER_RATE: ("requests and bytes a second", ()),
    Reason.OVERLOADED: ("what is shed under overload", ("overload.lag_ms", "overload.unwritten_bytes")),
    Reason.OVER_CAP: ("connections of one peer", ("caps.in_per_peer", "caps.unauthenticated_per_address")),
    Reason.TOO_MANY_CLAIMS: ("claims on one link", ("caps.claims_per_link", "caps.claims_before_proof")),
}  # fmt: skip
#: Rules remembered for a second.
_LATELY: Final = 1000


class Rulebook:
    """Knows the configuration and what changed of it since.

    Args:
        config: of the start; its domains may have changed since, and `read` takes another one.
        domains: the domains served now.
        gatekeeper: policies and remembered strength.
        ports: links by number.
        now: monotonic seconds.
    """

    def __init__(
        self,
        config: Config,
        domains: ServedDomains,
        gatekeeper: Gatekeeper,
        ports: dict[int, Port],
        now: Callable[[], float],
    ) -> None:
        self._domains = domains
        self._gatekeeper = gatekeeper
        self._ports = ports
        self._now = now
        #: names the rule of an access list or of a recipient that an outcome's note names
        self.access_rule: Callable[[str], Rule] = Rule
        self._lately: dict[tuple[object, ...], Rule] = {}
        self.read(config)
        self._second = 0
        self._own: dict[Reason, Callable[[Entry], Rule]] = {
            Reason.TYPE_NOT_ENABLED: self._types,
            Reason.NOT_PROVED: self._source,
            Reason.RELAY_DENIED: self._relay,
            Reason.SERVED_HERE: lambda entry: self._served(
                "a domain of ours speaks by its own service", entry
            ),
            Reason.SUSPENDED: self._suspended,
            Reason.WEAKER_THAN_POLICY: self._policy,
            Reason.CERTIFICATE_REFUSED: self._policy,
            Reason.DANE_MISMATCH: self._policy,
            Reason.DELEGATION_INSECURE: self._policy,
            Reason.WEAKER_THAN_REMEMBERED: self._remembered,
            Reason.RATE_LIMITED: self._rate,
            Reason.TOO_LARGE: self._size,
            Reason.SERVICE_DOWN: self._service,
        }

    def read(self, config: Config) -> None:
        """Name the entries of this configuration from now on."""
        self._config, self._lately = config, {}
        self._peers = {peer.domain: peer for peer in config.peers}
        self._named = frozenset(entry.domain for entry in config.trust.peers if entry.policy)
        self._exceptions = {_folded(entry.sender): entry for entry in config.limits.exceptions}

    def of(self, entry: Entry, outcome: Outcome) -> Rule:
        """The rule behind the outcome of a request that did not simply succeed.

        What is asked again within a second is answered alike: a flood of refusals must not cost more for it.
        """
        second = int(self._now())
        if second != self._second or len(self._lately) > _LATELY:
            self._lately, self._second = {}, second
        sender = entry[KEY] if self._exceptions and outcome.reason is Reason.RATE_LIMITED else b""
        asked = (
            outcome.reason, outcome.decided_role, outcome.decided_by, outcome.note, entry[TO_DOMAIN],
            entry[FROM_DOMAIN], entry[IN_PORT], sender[16:],
        )  # fmt: skip
        rule = self._lately.get(asked)
        if rule is None:
            barred = outcome.note.startswith(NOTE)
            rule = self.access_rule(outcome.note) if barred else self._of(entry, outcome)
            self._lately[asked] = rule
        return rule

    def _of(self, entry: Entry, outcome: Outcome) -> Rule:
        reason = outcome.reason
        if outcome.decided_role == "service" or (outcome.decided_role == "router" and outcome.decided_by):
            return Rule(f"what {outcome.decided_by or _text(entry[TO_DOMAIN])} answered")
        if outcome.decided_role in {"peer", "uplink"} and reason not in _SEEN_BY_US:
            return Rule(f"what {outcome.decided_by or 'the uplink'} answered")
        limit = LIMIT_BY_WORD.get(outcome.note)
        if limit is not None and limit is not Limit.SENDER:
            return self._plain(limit.value.what, limit.plain_keys)
        if reason in self._own:
            return self._own[reason](entry)
        if reason in _PLAIN:
            return self._plain(*_PLAIN[reason])
        if reason.stage is Stage.DNS:
            return Rule(f"what DNS says of {_text(entry[TO_DOMAIN])}")
        if reason.stage is Stage.DIALBACK:
            return Rule(
                f"dial-back: a router of {_text(entry[FROM_DOMAIN])}, found by its DNS, knows the claim"
            )
        return Rule(f"stage {reason.stage.value}")

    def policy_of(self, domain: Domain, protocol: Protocol = Protocol.IMX) -> Rule:
        """What is asked of a remote domain that speaks a protocol, and the entry that says so."""
        word = self._gatekeeper.all_policies[protocol].policy_for(domain).value
        check = f"what {domain.name} must prove: {word}"
        pin = self._peers.get(domain.name)
        if pin is not None and pin.policy is not None:
            return Rule(check, f'[[peer]] domain = "{domain.name}": policy = "{word}"')
        named = self._named
        zone, found = domain.name, domain.name if domain.name in named else ""
        while not found and "." in zone:
            zone = zone.partition(".")[2]
            found = f"*.{zone}" if f"*.{zone}" in named else ""
        if found:
            return Rule(check, f'[[trust.peer]] domain = "{found}": policy = "{word}"')
        key = "xmpp_default" if protocol is Protocol.XMPP else "default_policy"
        return Rule(check, f'[trust] {key} = "{word}"')

    # -- rules that depend on the domains ----------------------------------------------------------------

    def _plain(self, check: str, keys: Iterable[str]) -> Rule:
        return Rule(check, ", ".join(f"{key} = {self.value(key)}" for key in keys))

    def value(self, key: str) -> str:
        """The value of a key of the configuration, as it stands there."""
        value: object = self._config
        for part in key.split("."):
            value = getattr(value, part)
        return _shown(value)

    def _served_record(self, raw: bytes) -> ServedDomain | None:
        try:
            return self._domains.get(Domain.from_wire(raw))
        except BadDomain:
            return None

    def _served(self, check: str, entry: Entry) -> Rule:
        record = self._served_record(entry[FROM_DOMAIN])
        return Rule(check, f'[[domain]] name = "{record.name.name}"' if record is not None else "")

    def _types(self, entry: Entry) -> Rule:
        record = self._served_record(entry[TO_DOMAIN])
        name = record.name.name if record is not None else _text(entry[TO_DOMAIN])
        return Rule("record types that the destination takes", f'[[domain]] name = "{name}": types')

    def _suspended(self, entry: Entry) -> Rule:
        for raw in (entry[TO_DOMAIN], entry[FROM_DOMAIN]):
            record = self._served_record(raw)
            if record is not None and record.suspended:
                return Rule(
                    "a suspended domain", f'[[domain]] name = "{record.name.name}": state = "suspended"'
                )
        return Rule("a suspended domain")

    def _source(self, entry: Entry) -> Rule:
        source, port = _text(entry[FROM_DOMAIN]), self._ports.get(entry[IN_PORT])
        if port is not None and port.role is Role.SERVICE:
            return Rule(f"{source} is bound to the service of link {port.number}", "[[domain]] service")
        return Rule(f"{source} is proved on the link that brings it")

    def _relay(self, entry: Entry) -> Rule:
        destination = _text(entry[TO_DOMAIN])
        if self._served_record(entry[TO_DOMAIN]) is None:
            return Rule(
                f"no relay: {destination} is served here", f'no [[domain]] has the name "{destination}"'
            )
        return Rule(f"no relay: {_text(entry[FROM_DOMAIN])} may write to {destination} over this link")

    def _policy(self, entry: Entry) -> Rule:
        """A policy of the domain of ours, where it has one of its own, else that for the peer."""
        ours, theirs = entry[TO_DOMAIN], entry[FROM_DOMAIN]
        record = self._served_record(ours)
        if record is None:
            ours, theirs = theirs, ours
            record = self._served_record(ours)
        try:
            peer = Domain.from_wire(theirs)
        except BadDomain:
            return Rule("policy")
        protocol = self._protocol_of(entry)
        if record is None or record.policy is None:
            return self.policy_of(peer, protocol)
        own, asked = Policy(record.policy), self._gatekeeper.all_policies[protocol].policy_for(peer)
        if not self._gatekeeper.decide(peer, protocol).accepted and asked is not own:
            return self.policy_of(peer, protocol)
        setting = f'[[domain]] name = "{record.name.name}": policy = "{record.policy}"'
        return Rule(f"what peers of {record.name.name} must prove", setting)

    def _protocol_of(self, entry: Entry) -> Protocol:
        """What is spoken on the link of the two that is no service's."""
        ports = (self._ports.get(number) for number in (entry[IN_PORT], entry[OUT_PORT]))
        streams = any(port is not None and port.carries_stanzas for port in ports)
        return Protocol.XMPP if streams else Protocol.IMX

    def _remembered(self, entry: Entry) -> Rule:
        raw = entry[FROM_DOMAIN] if self._served_record(entry[TO_DOMAIN]) is not None else entry[TO_DOMAIN]
        protocol = self._protocol_of(entry)
        try:
            seen = self._gatekeeper.remembered.seen(Domain.from_wire(raw), self._now(), protocol=protocol)
            words = strength_words(seen)
        except BadDomain:
            words = ""
        return Rule(f"the strongest that {_text(raw)} was seen at: {words}", self._days())

    def _days(self) -> str:
        return f"trust.remember_days = {self._config.trust.remember_days:g}"

    def _rate(self, entry: Entry) -> Rule:
        domain = _text(entry[FROM_DOMAIN])
        check = "messages a second of one sender"
        whole = entry[KEY][16:]
        sender = _folded(whole[whole.find(b"@" + entry[TO_DOMAIN]) + 1 + len(entry[TO_DOMAIN]) :])
        exception = self._exceptions.get(sender) or self._exceptions.get(_folded(domain))
        if exception is not None:
            of = "this sender" if "@" in exception.sender else exception.sender
            return Rule(check, f"[[limits.exception]] of {of}: rate_per_s = {exception.rate_per_s:g}")
        record, peer = self._served_record(entry[FROM_DOMAIN]), self._peers.get(domain)
        if record is not None and record.sender_rate_per_s:
            rate = f"sender_rate_per_s = {record.sender_rate_per_s:g}"
            return Rule(check, f'[[domain]] name = "{record.name.name}": {rate}')
        if peer is not None and peer.sender_rate_per_s:
            return Rule(
                check, f'[[peer]] domain = "{domain}": sender_rate_per_s = {peer.sender_rate_per_s:g}'
            )
        return self._plain(check, ("limits.sender_rate_per_s", "limits.sender_burst"))

    def _size(self, entry: Entry) -> Rule:
        for raw in (entry[TO_DOMAIN], entry[FROM_DOMAIN]):
            record = self._served_record(raw)
            if record is not None and record.max_message_bytes:
                limit = f"max_message_bytes = {record.max_message_bytes}"
                return Rule("size of a message", f'[[domain]] name = "{record.name.name}": {limit}')
        return self._plain("size of a message", ("limits.max_message_bytes",))

    def _service(self, entry: Entry) -> Rule:
        record = self._served_record(entry[TO_DOMAIN])
        name = record.service if record is not None else ""
        return Rule("a link of the service is up", f'[[service]] name = "{name}"' if name else "")


#: Reasons that this router sees itself although they blame the peer.
_SEEN_BY_US: Final = frozenset({Reason.LINK_LOST, Reason.ANSWER_TIMEOUT, Reason.KEEPALIVE_TIMEOUT})


def strength_words(strength: int) -> str:
    """The strongest policy that a strength meets, in the words of the configuration; empty where none."""
    met = [policy for policy in Policy if not policy.level & ~strength]
    return max(met, key=lambda policy: policy.level.bit_count()).value if met else ""


def _folded(address: str | bytes) -> bytes:
    raw = address.encode("utf-8") if isinstance(address, str) else address
    try:
        return address_key(raw)
    except (BadAddress, BadDomain):
        return raw.lower()


def _text(raw: bytes) -> str:
    return raw.decode("ascii", "replace")


def _shown(value: object) -> str:
    if isinstance(value, float):
        return f"{value:g}"
    if isinstance(value, tuple):
        return "[" + ", ".join(f'"{one}"' if isinstance(one, str) else str(one) for one in value) + "]"
    return f'"{value}"' if isinstance(value, str) else str(value)
