"""Reading certificates of strangers: one kind of error for the unreadable, and constraints of SRV-IDs."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Final, TypeVar

from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm

#: What `cryptography` raises, now or only when a part is asked for, where OpenSSL took a certificate and it
#: does not. They have no base of their own.
UNREADABLE: Final = (
    ValueError,
    UnsupportedAlgorithm,
    x509.InvalidVersion,
    x509.DuplicateExtension,
    x509.UnsupportedGeneralNameType,
)

T = TypeVar("T", bound=x509.ExtensionType)


def extension_of(certificate: x509.Certificate, kind: type[T]) -> T | None:
    """An extension; None if there is none.

    Raises: one of `UNREADABLE`.
    """
    try:
        return certificate.extensions.get_extension_for_class(kind).value
    except x509.ExtensionNotFound:
        return None


def is_authority(certificate: x509.Certificate) -> bool:
    """Whether it says so of itself; not where that cannot be read."""
    try:
        basic = extension_of(certificate, x509.BasicConstraints)
    except UNREADABLE:
        return False
    return basic is not None and basic.ca


def is_self_issued(certificate: x509.Certificate) -> bool:
    """Whether its issuer has its own name."""
    try:
        return certificate.issuer == certificate.subject
    except UNREADABLE:
        return False


def outside_constraints(path: Iterable[x509.Certificate], services: Iterable[str]) -> str:
    """Find the first domain of such a name that an authority of the path may not name as DNS-ID.

    OpenSSL holds DNS-IDs to the constraints on DNS names (RFC 5280 section 4.2.1.10), but an SRV-ID is a
    name of another kind (RFC 4985), which authorities that are limited to some domains forget to exclude. So
    is the address of an XMPP server.

    Args:
        path: the authorities, the anchor included.
        services: domains of SRV-IDs and of such addresses.

    Returns:
        The domain; empty if there is none.

    Raises: one of `UNREADABLE`.
    """
    limits = [found for one in path if (found := extension_of(one, x509.NameConstraints)) is not None]
    for domain in services:
        for limit in limits:
            permitted = list(_dns(limit.permitted_subtrees))
            if permitted and not any(_is_below(domain, tree) for tree in permitted):
                return domain
            if any(_is_below(domain, tree) for tree in _dns(limit.excluded_subtrees)):
                return domain
    return ""


def _dns(trees: Iterable[x509.GeneralName] | None) -> Iterator[str]:
    for tree in trees or ():
        if isinstance(tree, x509.DNSName):
            yield tree.value.lower()


def _is_below(domain: str, tree: str) -> bool:
    bare = tree.removeprefix(".")
    return not bare or domain == tree or domain.endswith(f".{bare}")
