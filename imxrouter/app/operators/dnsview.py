"""DNS as `imxctl dns` shows it: each question with its answer, the targets, and what to publish."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from typing import Final

from twisted.internet.defer import Deferred, gatherResults
from twisted.python.failure import Failure

from imxrouter.admin.views import LookupView, RecordsView, TargetView
from imxrouter.app.trust.identity_view import tlsa_lines, tlsa_text, variants_text
from imxrouter.discovery.answers import Step
from imxrouter.discovery.errors import DiscoveryFailed
from imxrouter.discovery.finder import Finder, Found
from imxrouter.discovery.records import ZONE_TTL_S, Target, xmpp_lines, zone_text
from imxrouter.model.domain import Domain
from imxrouter.model.vocabulary import Reason
from imxrouter.routing.choice import Protocol
from imxrouter.tls.store import CertificateSet

_NO_CERTIFICATES: Final = CertificateSet()
_ONLY_IMX: Final = frozenset({Protocol.IMX})
_XMPP_HEAD: Final = ("", "; XMPP (RFC 6120, XEP-0368), for the servers of other operators.")


def look_up(finder: Finder, domain: Domain) -> Deferred[LookupView]:
    """Look a domain up past the cache, and the addresses of its targets.

    Returns:
        fires with what was found, or with why a message could not go; fails only by a bug.
    """

    def found(answer: Found) -> Deferred[LookupView]:
        asking = [finder.addresses(target.host, fresh=True).addErrback(_failed) for target in answer.targets]
        return gatherResults(asking).addCallback(lambda results: _found_view(answer, results))

    def not_found(failure: Failure) -> LookupView:
        error = _failed(failure)
        return LookupView(
            domain=domain.name, form="", result="failed", stage=error.reason.stage.value,
            reason=error.reason.word, ttl_s=None, aliases=[], targets=[],
            steps=[*_words(error.asked), *([] if error.asked and not error.note else [str(error)])],
        )  # fmt: skip

    return finder.find(domain, fresh=True).addCallbacks(found, not_found)


def records_view(
    domain: Domain,
    published: Iterable[Target],
    *,
    served: bool,
    certificates: CertificateSet = _NO_CERTIFICATES,
    protocols: Collection[Protocol] = _ONLY_IMX,
    streams: Sequence[Target] | None = None,
) -> RecordsView:
    """What to publish for a domain: IMX in all three forms, XMPP where it is spoken.

    Args:
        domain: whose records.
        published: each of its routers, as its records are to tell.
        served: whether the domain is served here.
        certificates: of this router, for TLSA records.
        protocols: by which others are to reach it.
        streams: where XMPP servers reach this router; None: it does not speak XMPP.
    """
    by_imx, by_xmpp = Protocol.IMX in protocols, Protocol.XMPP in protocols
    targets, servers = tuple(published) if by_imx else (), tuple(streams or ()) if by_xmpp else ()
    xmpp = xmpp_lines(domain, servers, published=by_xmpp) if streams is not None else []
    places = tuple(dict.fromkeys((target.host, target.port) for target in (*targets, *servers)))
    zone = zone_text(domain, targets) if by_imx else ""
    if xmpp:
        zone += "\n".join([*_XMPP_HEAD[0 if zone else 1 :], *xmpp]) + "\n"
    tlsa, unknown = tlsa_lines(places, certificates, ZONE_TTL_S)
    lines = [line for line in zone.splitlines() if line and not line.startswith(";")]

    def of_type(word: str) -> list[str]:
        return [line for line in lines if line.split()[3] == word and line not in xmpp]

    return RecordsView(
        domain=domain.name,
        zone=zone + tlsa_text(domain, tlsa, unknown) + variants_text(domain, places),
        served=served, imx=of_type("TYPE65400"), svcb=of_type("SVCB"), srv=of_type("SRV"), xmpp=xmpp,
        tlsa=tlsa,
    )  # fmt: skip


def _failed(failure: Failure) -> DiscoveryFailed:
    error = failure.value
    if not isinstance(error, DiscoveryFailed):
        failure.raiseException()
    return error


def _found_view(found: Found, results: list[list[str] | DiscoveryFailed]) -> LookupView:
    """Where no target has an address, no message could go: that is a failure."""
    errors = [result for result in results if isinstance(result, DiscoveryFailed)]
    none_left = bool(errors) and len(errors) == len(results)
    reason = _most_telling(errors) if none_left else None
    return LookupView(
        domain=found.domain.name,
        form=found.form.value,
        result="failed" if reason else "found",
        stage=reason.stage.value if reason else "",
        reason=reason.word if reason else "",
        ttl_s=found.ttl_s,
        aliases=[step.name for step in found.asked[1:] if step.type == found.asked[0].type],
        targets=[_target_view(*pair) for pair in zip(found.targets, results, strict=True)],
        steps=[*_words(found.asked), *map(str, errors)],
    )


def _most_telling(errors: list[DiscoveryFailed]) -> Reason:
    """A failure says more than a clean "there is none"."""
    reasons = [error.reason for error in errors]
    return next((reason for reason in reasons if reason is not Reason.NO_ADDRESS), reasons[0])


def _target_view(target: Target, result: list[str] | DiscoveryFailed) -> TargetView:
    parameters = {"tls": target.tls or "", "auth": ",".join(sorted(target.auth or ()))}
    return TargetView(
        host=target.host, port=target.port, priority=target.priority,
        addresses=result if isinstance(result, list) else [],
        parameters={key: value for key, value in parameters.items() if value},
    )  # fmt: skip


def _words(steps: Iterable[Step]) -> list[str]:
    return [f"{step.question}: {step.answer}" for step in steps]
