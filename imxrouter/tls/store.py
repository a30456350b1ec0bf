"""Our own certificates by served domain: the set in use, and the exchange of one set for another."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from imxrouter.model.domain import BadDomain, Domain
from imxrouter.tls.own import OwnCertificate


class CertificateSet:
    """All certificates of ours at one moment; immutable.

    Args:
        certificates: in any order.
        warnings: what is worth an operator's look and stops nothing.
        chosen: domain -> file of the certificate that the configuration names for it.
        domains: our own, in the order of the configuration; the first one with a certificate gives the
            default, which is shown to who names no domain.
    """

    def __init__(
        self,
        certificates: Iterable[OwnCertificate] = (),
        *,
        warnings: Sequence[str] = (),
        chosen: Mapping[Domain, Path] | None = None,
        domains: Sequence[Domain] = (),
    ) -> None:
        self.all = tuple(sorted(certificates, key=lambda one: (one.path, one.fingerprint)))
        self.warnings = tuple(warnings)
        self._exact: dict[str, OwnCertificate] = {}
        self._wild: dict[str, OwnCertificate] = {}
        for one in sorted(self.all, key=lambda one: one.not_after):  # the last to end wins a name
            self._exact.update(dict.fromkeys(one.identifiers.exact, one))
            self._wild.update(dict.fromkeys(one.identifiers.wildcards, one))
        self._chosen: dict[str, OwnCertificate] = {}
        by_path = {one.path.absolute(): one for one in self.all}
        for domain, path in (chosen or {}).items():
            if (named := by_path.get(path.absolute())) is not None:
                self._chosen[domain.name] = named
        mine = (self.for_domain(domain) for domain in domains)
        first = self.all[0] if self.all else None
        self.default: OwnCertificate | None = next((one for one in mine if one is not None), first)

    def __len__(self) -> int:
        return len(self.all)

    def for_domain(self, domain: Domain) -> OwnCertificate | None:
        """The certificate that names a domain: the configured one, else in full, else by a wildcard."""
        return self.for_name(domain.name)

    def for_name(self, name: str) -> OwnCertificate | None:
        """The same for a name in lower-case A-labels; None for the empty one."""
        if (named := self._chosen.get(name) or self._exact.get(name)) is not None:
            return named
        _, dot, rest = name.partition(".")
        return self._wild.get(rest) if dot else None

    def without_certificate(self, domains: Iterable[Domain]) -> tuple[Domain, ...]:
        """Those of our domains that no certificate names."""
        return tuple(domain for domain in domains if self.for_domain(domain) is None)

    def by_certificate(self, domains: Iterable[Domain]) -> dict[bytes, list[Domain]]:
        """Fingerprint -> those of our domains for which the certificate is shown."""
        served: dict[bytes, list[Domain]] = {}
        for domain in domains:
            if (one := self.for_domain(domain)) is not None:
                served.setdefault(one.fingerprint, []).append(domain)
        return served


@dataclass(frozen=True, slots=True)
class Change:
    """What a new set has that the old one had not.

    Attributes:
        added: certificates that name only what nothing named before.
        renewed: certificates in the place of others, by file or by a name.
        removed: certificates whose file is gone, and that no new one stands for.
    """

    added: tuple[OwnCertificate, ...] = ()
    renewed: tuple[OwnCertificate, ...] = ()
    removed: tuple[OwnCertificate, ...] = ()

    def __bool__(self) -> bool:
        return bool(self.added or self.renewed or self.removed)


def change_between(old: CertificateSet, new: CertificateSet) -> Change:
    """Compare two sets."""
    before = {one.fingerprint for one in old.all}
    after = {one.fingerprint for one in new.all}
    named_before = {name for one in old.all for name in one.names}
    old_paths = {one.path for one in old.all}
    new_paths = {one.path for one in new.all}
    added: list[OwnCertificate] = []
    renewed: list[OwnCertificate] = []
    for one in new.all:
        if one.fingerprint not in before:
            known = one.path in old_paths or not named_before.isdisjoint(one.names)
            (renewed if known else added).append(one)
    replaced = {name for one in (*added, *renewed) for name in one.names}
    removed = [
        one
        for one in old.all
        if one.fingerprint not in after and one.path not in new_paths and not replaced.issuperset(one.names)
    ]
    return Change(tuple(added), tuple(renewed), tuple(removed))


@dataclass(slots=True)
class Certificates:
    """The one place that holds the set in use.

    Attributes:
        current: the set in use.
    """

    current: CertificateSet = field(default_factory=CertificateSet)

    def swap(self, new: CertificateSet) -> Change:
        """Put a checked set in the place of the current one, at once, and tell the difference."""
        change = change_between(self.current, new)
        self.current = new
        return change


def domains_of(names: Iterable[str]) -> tuple[Domain, ...]:
    """Names from a configuration as domains; what is none is left out."""
    found: list[Domain] = []
    for name in names:
        try:
            found.append(Domain.parse(name))
        except BadDomain:
            continue
    return tuple(found)
