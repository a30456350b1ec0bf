r"""Gateway addresses: JIDs at one name that stand for addresses elsewhere (section 2.2 of the mapping).

`bob\40far.example@gw.a.example` is bob@far.example, for users whose server knows the name gw.a.example and no
way to far.example (XEP-0100 section 5.2, XEP-0106 section 4.2). One to one, so that an answer comes from the
very JID that was written to: each address has one gateway address, and every other spelling is refused.
"""

from __future__ import annotations

import re
import unicodedata
from functools import lru_cache
from typing import Final

from imxrouter.gateways.xmpp.translate.jid import (
    BadJid,
    Jid,
    enforced_local,
    enforced_resource,
    escape,
    parse_jid,
    to_jid,
    to_model,
    unescape,
)
from imxrouter.model.address import Address, AddressTooLong, BadAddress, check_local
from imxrouter.model.domain import MAX_DOMAIN_BYTES, Domain
from imxrouter.model.vocabulary import Reason

#: A blank of a local part, which is escaped in an address as well; not at its ends (XEP-0106 section 4.1).
_BLANK: Final = re.compile(r"(?<!^)\\20(?!$)")
#: Written from the right; with them a local part of both directions is none (RFC 5893 section 2).
_FROM_THE_RIGHT: Final = frozenset({"R", "AL", "AN", "RLE", "RLO"})
#: Not assigned in Unicode 3.2, invisible, or somebody's own.
_UNSTEADY: Final = frozenset({"Cn", "Cf", "Co", "Cs", "Cc"})


class Misspelled(BadJid):
    """Another spelling of a gateway address.

    Attributes:
        right: the one that counts, a bare JID.
    """

    def __init__(self, right: str) -> None:
        super().__init__(Reason.BAD_ADDRESS, "not the one spelling of a gateway address")
        self.right = right


def gateway_jid(address: Address, gateway: Domain, resource: str = "") -> Jid:
    """The gateway address of an address.

    Args:
        address: with an empty local part the domain itself; the escaped at sign begins its gateway address.
        gateway: the name at which gateway addresses are.
        resource: of whom it stands for.

    Raises:
        BadJid: no JID stands for it there: it is written from the right, or too long.
    """
    bare, _ = to_model(to_jid(address))  # as JIDs are compared: lower-case
    local = _BLANK.sub(" ", bare.local)
    made = enforced_local(escape(f"{local}@{_text_of(bare.domain)}"))
    return Jid(made, gateway.display, enforced_resource(resource) if resource else "")


def address_behind(jid: Jid) -> Address:
    """The address that a gateway address stands for.

    Args:
        jid: as `parse_jid` gave it; its resource is that of the address.

    Raises:
        Misspelled: it stands for one, in another spelling.
        BadJid: it stands for none.
    """
    text = unescape(jid.local)
    local, at, domain = text.rpartition("@")
    if not at or "@" in local or local != local.strip(" "):
        raise BadJid(Reason.BAD_ADDRESS, "no gateway address: local\\40domain with one \\40 is")
    place, _ = to_model(Jid("", domain))
    try:
        address = Address(check_local(local.replace(" ", "\\20")) if local else "", place.domain)
    except AddressTooLong:
        raise BadJid(Reason.ADDRESS_TOO_LONG, "local part of a gateway address") from None
    except BadAddress:
        raise BadJid(Reason.BAD_ADDRESS, "local part of a gateway address: none that IMX has") from None
    right = gateway_jid(address, to_model(Jid("", jid.domain))[0].domain)
    if right.local != jid.local:
        raise Misspelled(right.bare)
    return address


def address_typed(text: str) -> Address:
    """The address that somebody typed: a JID, or what people read in the place of one.

    Raises:
        BadJid: it is none.
    """
    typed = text.strip()
    try:
        return to_model(parse_jid(typed))[0]
    except BadJid as error:
        local, at, domain = typed.rpartition("@")
        if not at or "@" in local or not local or local != local.strip():
            raise
        if error.reason is Reason.ADDRESS_TOO_LONG:
            raise
        return to_model(parse_jid(f"{enforced_local(escape(local))}@{domain}"))[0]


@lru_cache(maxsize=4096)
def _text_of(domain: Domain) -> str:
    """How a domain stands in a local part: for people, where every server leaves that as it is.

    RFC 3920 (nodeprep), which servers still use, folds more than RFC 7622 does, and so makes another domain
    of some; and a local part has one direction.
    """
    shown = domain.display
    old = unicodedata.ucd_3_2_0
    is_steady = (
        len(shown.encode()) <= MAX_DOMAIN_BYTES
        and all(old.category(one) not in _UNSTEADY for one in shown)
        and all(old.bidirectional(one) not in _FROM_THE_RIGHT for one in shown)
        and old.normalize("NFKC", shown.casefold()) == shown
        and unicodedata.normalize("NFKC", shown) == shown
    )
    return shown if is_steady and _is_local_part(shown) else domain.name


def _is_local_part(text: str) -> bool:
    try:
        return enforced_local(text) == text
    except BadJid:
        return False
