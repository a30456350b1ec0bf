"""Attributes as an operator asks for them: as a user of an embedded service, or as a served domain itself."""

from __future__ import annotations

import base64
import time
from collections.abc import Sequence
from typing import TYPE_CHECKING

from twisted.internet.defer import Deferred

from imxrouter.admin.errors import AdminError
from imxrouter.admin.views import AttributesView, AttributeView
from imxrouter.model.address import Address, BadAddress
from imxrouter.model.attributes import MAX_NAMES, is_attribute_name, kind_of
from imxrouter.model.domain import BadDomain
from imxrouter.model.operations import Attribute, AttributeQuery
from imxrouter.model.outcome import failed_at
from imxrouter.routing.attribute_asking import Asked

if TYPE_CHECKING:
    from imxrouter.app.parts import Parts


def ask_attributes(
    router: Parts, owner: str, names: Sequence[str], requester: str, *, fresh: bool
) -> Deferred[AttributesView]:
    """Ask through the router. Raises `AdminError` where the question itself is wrong."""
    whose, asker = address_of(owner, "owner"), _requester(router, requester)
    for name in names:
        if not is_attribute_name(name):
            do = "a key like alias or max-message-size, or DOMAIN/KEY"
            raise AdminError("bad-request", f"{name[:40]!r} is no attribute name", "names", do)
    if len(names) > MAX_NAMES:
        raise AdminError("bad-request", f"{len(names)} names", "names", f"ask for at most {MAX_NAMES}")
    answered: Deferred[AttributesView] = Deferred()
    query = AttributeQuery(asker, whose, router.new_id(), tuple(names))
    started = time.monotonic()

    def told(asked: Asked) -> None:
        answered.callback(_view(query, asked, time.monotonic() - started))

    router.attributes.ask(query, told, fresh=fresh)
    return answered


def address_of(text: str, where: str) -> Address:
    """Read a user or a domain of a request.

    Raises:
        AdminError: it is neither; names the field.
    """
    try:
        return Address.parse(text.strip().removeprefix("@"))
    except (BadAddress, BadDomain) as error:
        raise AdminError("bad-request", str(error), where, "write local@domain, or @domain") from None


def _requester(router: Parts, text: str) -> Address:
    if not text:
        records = list(router.domains) if len(router.domains) == 1 else []
        if not records:
            do = "name a user of an embedded service, or a domain served here"
            raise AdminError("bad-request", "who asks is not said", "as", do)
        return Address("", records[0].name)
    asker = address_of(text, "as")
    record = router.domains.get(asker.domain)
    if record is None:
        raise AdminError("not-found", f"{asker.domain} is not served here", "as", "see imxctl domains")
    if record.suspended:
        raise AdminError("refused", f"{asker.domain} is suspended", "as", "imxctl domains resume it")
    if asker.local and router.embedded_for(asker) is None:
        what = f"{asker} is not a user of an embedded service here"
        raise AdminError("not-found", what, "as", f"ask as the domain: --as @{asker.domain}")
    return asker


def _view(query: AttributeQuery, asked: Asked, seconds: float) -> AttributesView:
    outcome, told = asked.outcome, {attribute.name for attribute in asked.attributes}
    reason = outcome.reason
    decided_by, decided_role = outcome.decided_by, outcome.decided_role
    if outcome.ok and not decided_by:
        decided_by = query.owner.domain.name
        decided_role = "service" if query.owner.local else "router"
    return AttributesView(
        owner=str(query.owner), requester=str(query.requester),
        values=[_value(one, cached=one.name in asked.cached) for one in asked.attributes],
        not_told=[name for name in dict.fromkeys(query.names) if name not in told] if outcome.ok else [],
        id=query.message_id.hex(), status=outcome.status.name.lower(), reason=reason.word,
        stage=reason.stage.value, decided_by=decided_by, decided_role=decided_role,
        failed_at="" if outcome.ok else failed_at(reason, decided_by, query.owner.domain.name),
        retry="" if outcome.ok else reason.retry.value, retry_after_s=outcome.retry_after_s,
        note=outcome.note, seconds=round(seconds, 6), remedy="" if outcome.ok else reason.remedy,
        left=outcome.left,
    )  # fmt: skip


def _value(attribute: Attribute, *, cached: bool) -> AttributeView:
    try:
        text, encoding = attribute.value.decode("utf-8"), "text"
    except UnicodeDecodeError:
        text, encoding = base64.b64encode(attribute.value).decode("ascii"), "base64"
    return AttributeView(
        name=attribute.name, kind=kind_of(attribute.name).value, value=text, encoding=encoding,
        max_age_s=attribute.max_age_s, cached=cached,
    )  # fmt: skip
