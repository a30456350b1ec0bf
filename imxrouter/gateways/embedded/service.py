"""The embedded service: users with messages, presence, contacts, rules and attributes, for one directory."""

from __future__ import annotations

from collections.abc import Iterable

from twisted.logger import Logger

from imxrouter.gateways.embedded.accounts import Account
from imxrouter.gateways.embedded.directory import Directory
from imxrouter.gateways.embedded.following import Following
from imxrouter.gateways.embedded.inbox import INBOX_LIMITS, Inboxes, InboxLimits
from imxrouter.gateways.embedded.presentities import Presentities
from imxrouter.gateways.embedded.queries import Queries
from imxrouter.gateways.embedded.register import Register, Tools
from imxrouter.gateways.embedded.settings import Settings
from imxrouter.model.address import Address
from imxrouter.model.domain import Domain
from imxrouter.model.operations import Foreign, Message, Notify, Operation, Subscribe
from imxrouter.model.outcome import failure
from imxrouter.model.vocabulary import Reason
from imxrouter.routing.attribute_cache import AttributeCache
from imxrouter.routing.domains import ServedDomain
from imxrouter.routing.interfaces import Answer, Store
from imxrouter.routing.rules import DEFAULTS, Defaults


class EmbeddedService:
    """A small service of its own, as a gateway. Everything is in memory until `begin` gives it a store.

    What its users do goes through the parts; those of their methods that programs call stand here too.

    Args:
        directory: who has an account.
        tools: of the outside.
        defaults: what holds where a user has no rule.
        limits: of each inbox.
        presence_off: why there are messages only; empty: there is everything.
        cache: of attributes of others.

    Attributes:
        directory: who has an account.
        defaults: what holds where a user has no rule.
        presence_off: as given.
        inboxes: messages.
        presentities: what users publish, and who watches them.
        following: whom users watch.
        settings: rules, decisions, delegates, contacts, attributes.
        queries: attributes of others.
    """

    log = Logger()

    def __init__(
        self,
        directory: Directory,
        tools: Tools,
        defaults: Defaults = DEFAULTS,
        limits: InboxLimits = INBOX_LIMITS,
        *,
        presence_off: str = "",
        cache: AttributeCache | None = None,
    ) -> None:
        self.directory, self.defaults = directory, defaults
        self.presence_off = presence_off
        self._awake = False
        register = self._register = Register(
            directory, tools, defaults, self._listener_failed, self._unread, presence_off
        )
        self.presentities = Presentities(register, self._wake)
        cache = AttributeCache() if cache is None else cache
        self.queries = Queries(register, cache, self.presentities.knock)
        self.following = Following(register, self.queries.take_along, self._wake)
        self.inboxes = Inboxes(register, limits, self._watcher_failed, self.queries.take_along)
        self.settings = Settings(register, self._settings_changed, self.following)

        self.listen = register.listen
        self.inbox, self.watch = self.inboxes.inbox, self.inboxes.watch
        self.compose, self.send = self.inboxes.compose, self.inboxes.send
        self.publish, self.retract = self.presentities.publish, self.presentities.retract
        self.state_of, self.instances = self.presentities.state_of, self.presentities.instances
        self.watchers, self.shown_to = self.presentities.watchers, self.presentities.shown_to
        self.subscribe, self.unsubscribe = self.following.subscribe, self.following.unsubscribe
        self.fetch = self.following.fetch
        self.subscription, self.subscriptions = self.following.subscription, self.following.subscriptions
        self.ends = self.following.ends
        self.decide, self.withdraw = self.settings.decide, self.settings.withdraw
        self.consents, self.knocks = self.settings.consents, self.settings.knocks
        self.rules, self.set_rule = self.settings.rules, self.settings.set_rule
        self.remove_rule = self.settings.remove_rule
        self.contacts, self.set_contact = self.settings.contacts, self.settings.set_contact
        self.remove_contact = self.settings.remove_contact
        self.attributes, self.set_attribute = self.settings.attributes, self.settings.set_attribute
        self.remove_attribute = self.settings.remove_attribute
        self.delegates = self.settings.delegates
        self.allow, self.disallow = self.settings.allow, self.settings.disallow
        self.query, self.known = self.queries.query, self.queries.known

    # -- life --------------------------------------------------------------------------------------------

    def begin(self, store: Store) -> None:
        """Keep everything in this store from now on, and go on with what it has; before traffic comes."""
        if self.presence_off:
            return
        self._register.keep_in(store)
        self.presentities.begin()
        self.following.begin()

    def change(self, directory: Directory, defaults: Defaults) -> None:
        """Have the users of another directory from the next `serve` on, and other defaults at once."""
        self.directory.take_users(directory)
        if defaults != self.defaults:
            self.defaults = defaults
            self._register.change(defaults)
            for account in list(self._register.accounts.values()):
                self.presentities.refresh(account)

    def serve(self, records: Iterable[ServedDomain]) -> None:
        """Answer for exactly these domains; inboxes of users that go are dropped, their subscriptions end."""
        before = self.directory.domains()
        came, gone = self._register.serve(records)
        for account in gone:
            self.inboxes.drop(account.key)
        if gone:
            self.following.gone(gone)
        if gone or before - self.directory.domains():
            self.presentities.unserved()
        self.presentities.returned(came)
        self.following.returned(came)

    def tick(self) -> None:
        """About once a second: what has expired goes, and what is due is sent."""
        if self.presence_off:
            return
        self.presentities.tick()
        self._send_due()

    def _wake(self) -> None:
        if not self._awake and not self.presence_off:
            self._awake = True
            self._register.tools.later(self._send_due)

    def _send_due(self) -> None:
        self._awake = False
        try:
            self.following.send_due()
            self.presentities.send_due()
        except Exception:  # noqa: BLE001 - the next tick tries again; without it nobody is told anything
            self.log.failure("sending what is due failed")

    # -- the gateway -------------------------------------------------------------------------------------

    def domains(self) -> frozenset[Domain]:
        """The domains it answers for, aliases included."""
        return self.directory.domains()

    def knows(self, address: Address) -> bool:
        """Whether the address has an account."""
        return self.directory.find(address) is not None

    def deliver(self, operation: Operation, answer: Answer) -> None:
        """Take an operation for one of its users; `answer` is called before this returns."""
        if isinstance(operation, Message):
            self.inboxes.deliver(operation, answer)
        elif isinstance(operation, Foreign):
            domain, note = operation.destination.domain.name, "the embedded service has no foreign forms"
            answer(failure(Reason.TYPE_NOT_ENABLED, by=domain, role="service", note=note))
        elif self.presence_off:
            domain = operation.destination.domain.name
            answer(failure(Reason.TYPE_NOT_ENABLED, by=domain, role="service", note=self.presence_off))
        elif isinstance(operation, Subscribe):
            self.presentities.deliver(operation, answer)
        elif isinstance(operation, Notify):
            self.following.deliver(operation, answer)
        else:
            self.queries.deliver(operation, answer)

    # -- what goes wrong ---------------------------------------------------------------------------------

    def _settings_changed(self, account: Account) -> None:
        self.presentities.refresh(account)

    def _watcher_failed(self, domain: str) -> None:
        self.log.failure("a watcher of {domain} failed", domain=domain)

    def _listener_failed(self) -> None:
        self.log.failure("a listener to changes failed")

    def _unread(self, table: str) -> None:
        self.log.warn("an entry of {table} cannot be read", table=table)
