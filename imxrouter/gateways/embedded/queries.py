"""Attribute queries of others and of our users, and what rides along (specification section 7.8)."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import replace
from typing import Final

from imxrouter.formats.pidf import write_pidf
from imxrouter.gateways.embedded.accounts import Account
from imxrouter.gateways.embedded.attributes import PRESENCE
from imxrouter.gateways.embedded.inbox import refused
from imxrouter.gateways.embedded.register import Register
from imxrouter.model.address import Address
from imxrouter.model.operations import Attribute, AttributeQuery, AttributeValues
from imxrouter.model.outcome import Outcome
from imxrouter.model.vocabulary import Reason, Status
from imxrouter.routing.attribute_asking import AttributeAsker
from imxrouter.routing.attribute_cache import AttributeCache
from imxrouter.routing.interfaces import Answer
from imxrouter.routing.rules import Decision, Person, Right

#: What whoever asks may be told of presence by an attribute; the others are told nothing of it.
_SHOWN: Final = (Decision.ALLOW, Decision.BLOCK)


class Queries:
    """Answers for our users' attributes, and asks for others'.

    Args:
        register: of accounts.
        cache: of what others told.
        knock: told that somebody asked for the presence of an account that has to agree first.
    """

    def __init__(
        self, register: Register, cache: AttributeCache, knock: Callable[[Account, Address], None]
    ) -> None:
        self._register = register
        self._knock = knock
        self._asker = AttributeAsker(cache, register.tools.submit, register.tools.now)
        self.cache = cache

    # -- of our users ------------------------------------------------------------------------------------

    def deliver(self, query: AttributeQuery, answer: Answer) -> None:
        """Answer what the requester may see; `answer` is called before this returns.

        Who may see nothing at all is answered as if there were no such user.
        """
        account = self._register.find(query.owner)
        if account is None:
            answer(refused(query.owner, Reason.UNKNOWN_USER))
            return
        person = self._register.person(account, query.requester)
        asks = account.ruling(person, Right.FETCH).decision is Decision.ASK
        if asks and PRESENCE in query.names:
            self._knock(account, query.requester)
        visible = self._visible(account, person, query.owner)
        if not visible:
            answer(refused(query.owner, Reason.CONSENT_NEEDED if asks else Reason.BLOCKED))
            return
        wanted = [one for one in visible if one.name in query.names] if query.names else visible
        answer(Outcome(Status.SUCCESS, result=AttributeValues(tuple(wanted))))

    def _visible(self, account: Account, person: Person, owner: Address) -> list[Attribute]:
        visible = list(account.attributes_for(person))
        if account.ruling(person, Right.FETCH).decision in _SHOWN:
            state = replace(account.state_for(person, Right.FETCH), presentity=owner)
            visible.append(Attribute(PRESENCE, write_pidf(state)))
        return sorted(visible, key=lambda one: one.name)

    # -- of others ---------------------------------------------------------------------------------------

    def query(
        self, user: Address, owner: Address, names: Iterable[str], answer: Answer, *, fresh: bool = False
    ) -> None:
        """Ask for somebody's attributes as one of our users; `answer` gets the one outcome.

        Args:
            user: who asks.
            owner: a user, or a domain.
            names: keys; none: all that he may see.
            answer: its success has `AttributeValues`.
            fresh: ask the owner even where his answer is still known.

        Raises:
            NotAUser: there is no such account.
        """
        account, tools = self._register.account(user), self._register.tools
        query = AttributeQuery(account.address, owner, tools.new_id(), tuple(names))
        self._asker.ask(query, lambda asked: answer(asked.outcome), fresh=fresh)

    def known(self, user: Address, owner: Address, name: str) -> Attribute | None:
        """What a user was told of one attribute and may still use. Raises `NotAUser`."""
        now = self._register.tools.now()
        kept = self.cache.find(self._register.account(user).address, owner, name, now)
        if kept is None or kept.value is None:
            return None
        return Attribute(name, kept.value, int(kept.until - now))

    def take_along(self, account: Account, owner: Address, attributes: tuple[Attribute, ...]) -> None:
        """Keep what rode along on a message or notification to a user, as its owner allows (section 7.8)."""
        if attributes:
            self.cache.unsolicited(account.address, owner, attributes, self._register.tools.now())
