"""Attributes of the domains served here, answered by the router itself (specification 7.8; IMX-20)."""

from __future__ import annotations

from imxrouter.model.operations import AttributeQuery, AttributeValues
from imxrouter.model.outcome import Outcome, failure
from imxrouter.model.vocabulary import Reason, Status
from imxrouter.routing.domains import ServedDomains
from imxrouter.routing.published import RouterFacts, published
from imxrouter.transport.operations import record_to_query, with_result
from imxrouter.transport.translate import TranslationError
from imxrouter.wire.record import Record, response_to


class DomainAttributes:
    """Answers ATTRIBUTES records to a domain itself.

    Args:
        domains: what is served here, as of each question.
        facts: what holds for all of them.
    """

    def __init__(self, domains: ServedDomains, facts: RouterFacts) -> None:
        self._domains = domains
        self.facts = facts

    def respond(self, request: Record) -> Record:
        """The response to a request whose To is a domain served here."""
        try:
            outcome = self.answer(record_to_query(request))
        except TranslationError as error:
            here = request.envelope.to_domain.decode("ascii")
            outcome = failure(error.reason, by=here, note=str(error))
        return with_result(response_to(request, outcome), outcome)

    def answer(self, query: AttributeQuery) -> Outcome:
        """The outcome of a query, with the values that the requester may see."""
        if query.owner.local:
            return failure(Reason.BAD_ADDRESS, note="a user's attributes are answered by his service")
        record = self._domains.get(query.owner.domain)
        if record is None:
            return failure(Reason.RELAY_DENIED, note=f"{query.owner.domain} is not served here")
        inside = query.requester.domain in self._domains
        values = published(record, self.facts, query.names, inside=inside)
        return Outcome(Status.SUCCESS, result=AttributeValues(values))
