"""What records say of TLS and of proof, by what this router offers and asks (imx-dns-record section 4.3)."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

from imxrouter.app.trust.identity_view import Opinion
from imxrouter.discovery.records import Target
from imxrouter.model.domain import Domain
from imxrouter.model.vocabulary import Reason
from imxrouter.routing.policy import Level, Policy

if TYPE_CHECKING:
    from imxrouter.app.parts import Parts


def targets_of(router: Parts, domain: Domain) -> tuple[Target, ...]:
    """What to publish for a domain.

    Where there is no TLS here nothing is said of it, so that the reader's own policy decides: `none` would
    have to be taken back by who ends TLS before this router.
    """
    tls = _tls(router, domain)
    auth = None
    if tls is not None:
        own = router.link_tls.certificates.for_domain(domain)
        covered = own is not None and own.covers(domain)
        auth = frozenset({"dialback", "certificate"}) if covered else frozenset({"dialback"})
    return tuple(Target(host, port, tls=tls, auth=auth) for host, port in router.published())


def servers_of(router: Parts) -> tuple[Target, ...] | None:
    """Where XMPP servers of others reach this router's hosts; None where it takes no streams of theirs."""
    xmpp = router.config.xmpp
    ports = [("direct", xmpp.tls_endpoints), ("starttls", xmpp.endpoints)]
    if not any(places for _, places in ports):
        return None
    hosts = dict.fromkeys(host for host, _ in router.published())
    return tuple(
        Target(host, places[0].port, 0, 5, tls=tls) for tls, places in ports if places for host in hosts
    )


def _tls(router: Parts, domain: Domain) -> str | None:
    if router.hub.first_bytes.maker is None:
        return None
    if not router.hub.first_bytes.clear:
        return "required"
    record = router.domains.get(domain)
    own = record.policy if record is not None else None
    if own is not None:
        needed = [Policy(own)]
    else:  # a peer with a policy of its own may be let in by clear text
        needed = [router.gatekeeper.policies.default, *map(Policy, router.config.policy_rules.values())]
    in_tls = all(policy.level & Level.DIALBACK_TLS & ~Level.DIALBACK for policy in needed)
    return "required" if in_tls else "optional"


def judge(wanted: Sequence[Target], there: Sequence[Target]) -> Iterator[Opinion]:
    """Compare what is published of TLS with what this router wants published, target by target.

    Args:
        wanted: by `targets_of`.
        there: what a look-up finds.
    """
    places = {(one.host.rstrip("."), one.port): one for one in wanted}
    for target in there:
        ours = places.get((target.host.rstrip("."), target.port))
        if ours is None or target.tls is None or target.tls == ours.tls:
            continue
        what = f"{target.host}:{target.port} is published with tls={target.tls}"
        wants = ours.tls or "none"
        evidence = (f"there: tls={target.tls}", f"wanted: tls={wants}")
        if wants == "none" and target.tls == "required":
            do = "write tls.certificates, or take the parameter out of the record"
            yield Opinion("error", f"{what}, and there is no TLS here", Reason.TLS_FAILED, evidence, do)
        elif target.tls == "none" and wants != "none":
            severity = "error" if wants == "required" else "warning"
            do = "publish the records below: peers that ask for TLS do not dial this target"
            yield Opinion(
                severity, f"{what}, and TLS is {wants} here", Reason.WEAKER_THAN_POLICY, evidence, do
            )
        elif wants == "required":
            do = "publish the records below: peers without TLS come in vain"
            yield Opinion("warning", f"{what}, and TLS is required here", Reason.NONE, evidence, do)
