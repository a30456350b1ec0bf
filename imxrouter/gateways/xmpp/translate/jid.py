r"""JIDs and addresses: RFC 7622, XEP-0106 and section 2 of the mapping, one to one.

XEP-0106 alone is not: `a\5cb` and `a\b` unescape to the same, and so somebody could be taken for somebody
else. `to_model` unescapes only what `to_jid` gives back. Both are the identity where nothing is escaped.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import lru_cache
from typing import Final

from precis_i18n import get_profile

from imxrouter.model.address import MAX_LOCAL_BYTES, Address, AddressTooLong, BadAddress, check_local
from imxrouter.model.domain import MAX_DOMAIN_BYTES, BadDomain, Domain
from imxrouter.model.errors import RouterError
from imxrouter.model.vocabulary import Reason

#: RFC 7622 section 3.1: each of the three parts has 1 to 1023 octets.
MAX_PART_BYTES: Final = 1023
#: Of a JID nested in itself by escaping; each needs five more characters, so people never meet two.
MAX_ROUNDS: Final = 8

#: Characters of a JID that is worth remembering, and how many are: what strangers can make us keep is bounded
#: by it, at about 16 MB.
_REMEMBERED: Final = 128
_MOST: Final = 16_384

_LOCAL: Final = get_profile("UsernameCaseMapped")
_RESOURCE: Final = get_profile("OpaqueString")
#: RFC 7622 section 3.3.1: in no local part.
_NOT_IN_LOCAL: Final = re.compile("[\"&'/:<>@]")
#: Lower-case ASCII that PRECIS lets pass in a local part unchanged.
_PLAIN_LOCAL: Final = re.compile(r"[a-z0-9.!#$%()*+,;=?\[\\\]^_`{|}~-]+\Z")
#: Printable ASCII, which OpaqueString leaves as it is.
_PLAIN_RESOURCE: Final = re.compile(r"[\x20-\x7e]+\Z")
#: Where the whole JID is so plain that its parts stay as they are, given that its domain does (`address_of`).
_PLAIN: Final = re.compile(r"([a-z0-9._-]{1,255})@([a-z0-9.-]{1,253})(?:/([A-Za-z0-9._-]{1,255}))?\Z")
_IPV4: Final = re.compile(r"[0-9.]+\Z")

#: XEP-0106 section 4.2; U+0020 and `@` are no part of any address, so their escapes stay.
_CODES: Final = {
    "20": " ", "22": '"', "26": "&", "27": "'", "2f": "/", "3a": ":", "3c": "<", "3e": ">", "40": "@",
    "5c": "\\",
}  # fmt: skip
_ESCAPE: Final = re.compile(r"\\(20|22|26|27|2f|3a|3c|3e|40|5c)")
_SPECIAL: Final = re.compile(r"[ \"&'/:<>@]|\\(?=20|22|26|27|2f|3a|3c|3e|40|5c)")
_CODE_OF: Final = {char: "\\" + code for code, char in _CODES.items()}


class BadJid(RouterError):
    """The text is no JID, or none that the model can say.

    Its words go into logs and traces, so of an address they have the domain alone.

    Attributes:
        reason: BAD_ADDRESS or ADDRESS_TOO_LONG.
    """

    def __init__(self, reason: Reason, words: str) -> None:
        super().__init__(f"{reason.word}: {words}")
        self.reason = reason


@dataclass(frozen=True, slots=True)
class Jid:
    """A JID after PRECIS (RFC 7622 section 3).

    Attributes:
        local: UsernameCaseMapped, without the characters of section 3.3.1; empty where there is none.
        domain: U-labels, lower-case, without the dot at the end.
        resource: OpaqueString; empty where there is none.
    """

    local: str
    domain: str
    resource: str = ""

    @property
    def bare(self) -> str:
        """Without the resource."""
        return f"{self.local}@{self.domain}" if self.local else self.domain

    def __str__(self) -> str:
        return f"{self.bare}/{self.resource}" if self.resource else self.bare


def parse_jid(text: str) -> Jid:
    """Read and enforce a JID (RFC 7622 section 3).

    Raises:
        BadJid: a part is empty, too long or not allowed, or the domain is an address literal or has no dot.
    """
    if len(text) > 3 * MAX_PART_BYTES + 2:
        raise BadJid(Reason.ADDRESS_TOO_LONG, f"JID of {len(text)} characters")
    return _remembered(text) if len(text) <= _REMEMBERED else _parsed(text)


def _parsed(text: str) -> Jid:
    bare, slash, resource = text.partition("/")
    local, at, domain = bare.partition("@")
    if not at:
        local, domain = "", bare
    elif not local:
        raise BadJid(Reason.BAD_ADDRESS, "nothing stands before '@'")
    if slash and not resource:
        raise BadJid(Reason.BAD_ADDRESS, "nothing stands behind '/'")
    return Jid(
        enforced_local(local) if at else "",
        _display(_domain(domain)),
        enforced_resource(resource) if slash else "",
    )


_remembered: Final = lru_cache(maxsize=2048)(_parsed)


def to_model(jid: Jid) -> tuple[Address, str]:
    """Address and resource of a JID (section 2.1 of the mapping).

    Raises:
        BadJid: its local part is longer than the model's.
    """
    domain = _domain(jid.domain)
    local = _to_local(jid.local, MAX_ROUNDS) if jid.local else ""
    if len(local.encode("utf-8")) > MAX_LOCAL_BYTES:
        raise BadJid(Reason.ADDRESS_TOO_LONG, f"local part of over {MAX_LOCAL_BYTES} bytes")
    try:
        return Address(check_local(local), domain), jid.resource
    except BadAddress:
        raise BadJid(Reason.BAD_ADDRESS, "local part: none that IMX has") from None


def address_of(text: str) -> tuple[Address, str]:
    """Address and resource of a JID as it is written: `to_model` of `parse_jid`.

    Raises:
        BadJid: as those do.
    """
    return _address_of(text) if len(text) <= _REMEMBERED else to_model(parse_jid(text))


@lru_cache(maxsize=_MOST)
def _address_of(text: str) -> tuple[Address, str]:
    return plain_parts(text) or to_model(parse_jid(text))


def plain_parts(text: str) -> tuple[Address, str] | None:
    """`address_of` of a JID that is plain ASCII and that `to_jid` writes just so, as most are.

    None of every other, whether it is a JID or not.
    """
    found = _PLAIN.match(text)
    if found is None:
        return None
    local, name, resource = found.groups("")
    domain = _as_written(name)
    return (Address(local, domain), resource) if domain is not None else None


def to_jid(address: Address, resource: str = "") -> Jid:
    """The JID of an address.

    Raises:
        BadJid: no escaping makes a JID of it, or it is too long for one.
    """
    return Jid(
        _to_local_part(address.local),
        _display(address.domain),
        enforced_resource(resource) if resource else "",
    )


def _to_local_part(local: str) -> str:
    if _PLAIN_LOCAL.match(local) is not None and "\\" not in local:
        return local  # nothing is to be lowered, and nothing escaped
    return _escaped_local(local) if local else ""


@lru_cache(maxsize=4096)
def _escaped_local(local: str) -> str:
    return _to_jid(_lowered(local), MAX_ROUNDS)


def _to_local(jid: str, rounds: int) -> str:
    if "\\" not in jid:
        return jid
    if not rounds:
        raise BadJid(Reason.BAD_ADDRESS, "escaped too often")
    plain = unescape(jid)
    if plain == jid or not _is_local(plain) or escape(plain) != jid or _to_jid(plain, rounds - 1) != jid:
        return jid
    return plain


def _to_jid(local: str, rounds: int) -> str:
    if _is_jid_local(local) and _to_local(local, rounds) == local:
        return local
    return enforced_local(escape(local))


def unescape(local: str) -> str:
    """XEP-0106 section 4.2, alone: what a JID's local part shows."""
    return _ESCAPE.sub(lambda found: _CODES[found[1]], local)


def escape(local: str) -> str:
    """XEP-0106 section 4.2, alone: a local part that shows this."""
    return _SPECIAL.sub(lambda found: _CODE_OF[found[0]], local)


def enforced_local(text: str) -> str:
    """A JID's local part after UsernameCaseMapped (RFC 7622 section 3.3). Raises `BadJid`."""
    if _PLAIN_LOCAL.match(text) is not None and len(text) <= MAX_PART_BYTES:
        return text
    if _NOT_IN_LOCAL.search(text):
        raise BadJid(Reason.BAD_ADDRESS, "local part: a character that none has")
    return _checked(text, _lowered(text), "local part", Reason.ADDRESS_TOO_LONG)


def enforced_resource(text: str) -> str:
    """A JID's resource after OpaqueString (RFC 7622 section 3.4). Raises `BadJid`."""
    if _PLAIN_RESOURCE.match(text) is not None and len(text) <= MAX_PART_BYTES:
        return text
    try:
        enforced: str = _RESOURCE.enforce(text[: MAX_PART_BYTES + 1])
    except (UnicodeError, ValueError) as error:
        raise BadJid(Reason.BAD_ADDRESS, f"resource: {error}") from None
    return _checked(text, enforced, "resource", Reason.BAD_ADDRESS)


def _checked(text: str, enforced: str, part: str, reason: Reason) -> str:
    """RFC 7622 sections 3.3 and 3.4: 1 to 1023 octets, before and after."""
    if len(enforced.encode("utf-8")) > MAX_PART_BYTES or len(text) > MAX_PART_BYTES:
        raise BadJid(reason, f"{part} of over {MAX_PART_BYTES} bytes")
    if not enforced:
        raise BadJid(Reason.BAD_ADDRESS, f"empty {part}")
    return enforced


def _lowered(text: str) -> str:
    """UsernameCaseMapped; raises `BadJid`."""
    try:
        enforced: str = _LOCAL.enforce(text[: MAX_PART_BYTES + 1])
    except (UnicodeError, ValueError) as error:
        raise BadJid(Reason.BAD_ADDRESS, f"local part: {error}") from None
    return enforced


def _is_jid_local(text: str) -> bool:
    try:
        return enforced_local(text) == text
    except BadJid:
        return False


def _is_local(text: str) -> bool:
    """Whether an address of the model can have it as its local part, spelled so."""
    try:
        return check_local(text) == text
    except (BadAddress, AddressTooLong):
        return False


@lru_cache(maxsize=4096)
def _display(domain: Domain) -> str:
    return domain.display


@lru_cache(maxsize=4096)
def _as_written(name: str) -> Domain | None:
    """The domain of a name that people see as it is written; None of another one, and of what is none."""
    try:
        domain = _domain(name)
    except BadJid:
        return None
    return domain if domain.name == name == domain.display else None


@lru_cache(maxsize=4096)
def _domain(text: str) -> Domain:
    """RFC 7622 section 3.2; address literals and names without a dot are refused (row adr-bad-ip)."""
    try:
        if text != text.strip() or not text:
            raise BadDomain("blanks around a domain, or none")
        if len(text) > MAX_DOMAIN_BYTES and text.isascii():
            raise BadJid(Reason.ADDRESS_TOO_LONG, f"domain of {len(text)} characters")
        domain = Domain.parse(text)
    except BadDomain as error:
        too_long = len(text.encode("utf-8", "surrogatepass")) > MAX_DOMAIN_BYTES
        raise BadJid(Reason.ADDRESS_TOO_LONG if too_long else Reason.BAD_ADDRESS, str(error)) from None
    if "." not in domain.name or _IPV4.match(domain.name):
        raise BadJid(Reason.BAD_ADDRESS, f"{text[:80]!r} is no domain name")
    return domain
