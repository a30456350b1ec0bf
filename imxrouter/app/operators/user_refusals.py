"""What an embedded service refuses, as operators are told: kind, words of the registry, what to do."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from imxrouter.admin.errors import AdminError
from imxrouter.app.served.embedding import SEVERAL_PROCESSES
from imxrouter.gateways.embedded.accounts import NotAllowed, TooMany
from imxrouter.gateways.embedded.contacts import BadContact
from imxrouter.gateways.embedded.directory import NotAUser
from imxrouter.gateways.embedded.following import NoRoom
from imxrouter.gateways.embedded.instances import BadPublication
from imxrouter.gateways.embedded.keeping import NotKept
from imxrouter.gateways.embedded.register import PresenceOff, TooManyListeners
from imxrouter.gateways.embedded.service import EmbeddedService
from imxrouter.model.address import Address, BadAddress
from imxrouter.model.attributes import BadAttribute
from imxrouter.model.domain import BadDomain
from imxrouter.model.presence import BadPresence
from imxrouter.model.vocabulary import Reason
from imxrouter.routing.rules import BadRule

if TYPE_CHECKING:
    from imxrouter.app.parts import Parts

_ONE_PROCESS = "set workers = 1 and listen.reuse_port = false, and restart the router"
_OTHER_NAME = "rename one of the two in [[service]]"
#: Seconds after which a store that cannot write may be asked again, as watchers elsewhere are told.
_STORE_AGAIN_S = 60


@contextmanager
def told() -> Iterator[None]:
    """Turn what an embedded service raises into `AdminError`."""
    try:
        yield
    except NotAUser as error:
        raise _no_user(error.address) from None
    except PresenceOff as error:
        raise _presence_off(str(error)) from None
    except NotAllowed as error:
        do = "let him: imxctl rules USER --let OTHER publish"
        raise AdminError.of(Reason.BLOCKED, "refused", str(error), "by", do) from None
    except NoRoom as error:
        raise AdminError.of(
            error.reason, "unavailable", str(error), "subscription", "", error.retry_after_s
        ) from None
    except NotKept as error:
        do = "see imxctl status for what is wrong with the state file"
        raise AdminError.of(
            Reason.STATE_UNAVAILABLE, "unavailable", str(error), "state", do, _STORE_AGAIN_S
        ) from None
    except (TooMany, TooManyListeners) as error:
        raise AdminError.of(Reason.OVER_CAP, "refused", str(error), "", "take some away first") from None
    except (BadRule, BadContact, BadPublication, BadPresence, BadAttribute) as error:
        raise AdminError("bad-request", str(error)) from None


def user_of(text: str) -> Address | None:
    """The address of a user that a text is; None of what is none, or names a domain alone."""
    try:
        parsed = Address.parse(text)
    except (BadAddress, BadDomain):
        return None
    return parsed if parsed.local else None


def address(text: str, where: str) -> Address:
    """An address of a user, given by an operator. Raises `AdminError`."""
    try:
        parsed = Address.parse(text)
    except (BadAddress, BadDomain) as error:
        do = "write local@domain"
        raise AdminError.of(Reason.BAD_ADDRESS, "bad-request", str(error), where, do) from None
    if not parsed.local:
        what = f"{text} names no user"
        raise AdminError.of(Reason.BAD_ADDRESS, "bad-request", what, where, "write local@domain")
    return parsed


def service_of(router: Parts, user: str) -> tuple[EmbeddedService, Address]:
    """The service that a user has an account at, and his address; it has more than messages.

    Raises:
        AdminError: there is no such user, or he has messages only.
    """
    whose = address(user, "user")
    service = router.embedded_for(whose)
    if service is None:
        raise _no_user(whose)
    if service.presence_off:
        raise _presence_off(service.presence_off)
    return service, whose


def _presence_off(why: str) -> AdminError:
    do = _ONE_PROCESS if why == SEVERAL_PROCESSES else _OTHER_NAME
    return AdminError.of(Reason.TYPE_NOT_ENABLED, "refused", why, "user", do)


def _no_user(whose: Address) -> AdminError:
    what = f"{whose} is not a user of an embedded service here"
    return AdminError.of(Reason.UNKNOWN_USER, "not-found", what, "user", "see imxctl domains")
