"""What the attributes of a served domain must be (specification section 7.8)."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Final

from imxrouter.config.served import ServedDomain
from imxrouter.model.attributes import KEYS, BadAttribute, OwnerKind, check_name, check_value
from imxrouter.model.uris import is_uri

#: Own attributes of one domain, and bytes of all their keys and texts: with the global ones they always fit
#: into one answer.
MAX_OWN: Final = 64
MAX_OWN_BYTES: Final = 16 * 1024

_WORD: Final = r"[A-Za-z0-9!#$&^_.+-]+"
#: RFC 6838 section 4.2, or a range of RFC 9110 section 12.5.1; parameters are not told.
_CONTENT_TYPE: Final = re.compile(rf"(?:\*/\*|{_WORD}/(?:\*|{_WORD}))\Z")

_DOMAIN_KEYS: Final = frozenset(key.name for key in KEYS.values() if key.owner is OwnerKind.DOMAIN)

#: (key, what is wrong, what to do).
Fault = tuple[str, str, str]


def attribute_faults(entry: ServedDomain) -> Iterator[Fault]:
    """What is wrong with a domain's attributes."""
    contact = entry.abuse_contact
    if contact and not (is_uri(contact) and len(contact) <= 1024):
        do = "write mailto:, xmpp:, im: or https: and an address"
        yield "abuse_contact", f"{contact[:60]!r} is no URI", do
    for word in entry.content_types:
        if not _CONTENT_TYPE.match(word) or len(word) > 127:
            do = "write type/subtype like text/plain, without parameters"
            yield "content_types", f"{word[:60]!r} is no content type", do
    if len(entry.content_types) > MAX_OWN:
        yield "content_types", f"{len(entry.content_types)} types", f"keep at most {MAX_OWN}"
    yield from _own_faults(entry)
    for word in entry.hidden_attributes:
        if word not in _DOMAIN_KEYS and word not in entry.attributes:
            do = "one of: " + ", ".join(sorted(_DOMAIN_KEYS | set(entry.attributes)))
            yield "hidden_attributes", f"{word[:60]!r} is no attribute of it", do


def _own_faults(entry: ServedDomain) -> Iterator[Fault]:
    for key, text in entry.attributes.items():
        where = f"attributes.{key[:40]}"
        name = f"{entry.name}/{key}"
        if "/" in key:
            yield where, "a key has no '/'", "write the key alone; the domain is put before it"
            continue
        if key in KEYS:
            yield where, f"{key} is a global key", "choose another key, or set it by its own setting"
            continue
        try:
            check_name(name)
            check_value(name, text.encode("utf-8"))
        except (BadAttribute, UnicodeEncodeError) as error:
            yield where, str(error), "use lower-case letters, digits, '.' and '-' in keys"
    if len(entry.attributes) > MAX_OWN:
        yield "attributes", f"{len(entry.attributes)} attributes", f"keep at most {MAX_OWN}"
    size = sum(len(key) + len(text.encode("utf-8", "replace")) for key, text in entry.attributes.items())
    if size > MAX_OWN_BYTES:
        yield "attributes", f"{size} bytes of keys and texts", f"keep at most {MAX_OWN_BYTES}"
