"""What a domain tells of itself: what is applied, and nothing to whom it is not meant for (IMX-20)."""

from __future__ import annotations

from dataclasses import replace

from imxrouter.model.attributes import is_good
from imxrouter.model.domain import Domain
from imxrouter.routing.domains import ServedDomain
from imxrouter.routing.published import RouterFacts, largest_body, published

FACTS = RouterFacts(16_384, 65_536, 300.0, 60.0, 30.0, "r.a.example (imxrouter 9)", 3600)
PLAIN = ServedDomain(Domain("a.example"), "home")
RICH = replace(
    PLAIN,
    max_message_bytes=9000,
    subscription_lifetime_s=900,
    abuse_contact="mailto:abuse@a.example",
    content_types=("text/plain", "text/html-lite"),
    attributes=(("hours", "9-17"), ("motto", "Größe")),
    hidden_attributes=("software", "motto"),
)


def values(record: ServedDomain, *names: str, inside: bool = False) -> dict[str, str]:
    """Name -> value."""
    told = published(record, FACTS, names, inside=inside)
    assert all(is_good(one) and one.max_age_s == 3600 for one in told)
    assert [one.name for one in told] == sorted(one.name for one in told)
    return {one.name: one.value.decode() for one in told}


def test_a_domain_without_settings_tells_the_routers() -> None:
    """What nobody set is not told."""
    assert values(PLAIN) == {
        "max-message-size": "16384",
        "subscription-lifetime": "1800",
        "idle-timeout": "300",
        "duplicate-window": "60",
        "answer-timeout": "30",
        "software": "r.a.example (imxrouter 9)",
    }


def test_a_domains_own_settings_and_keys_are_told() -> None:
    """All of them to a domain served here."""
    assert values(RICH, inside=True) == {
        "max-message-size": "9000",
        "subscription-lifetime": "900",
        "idle-timeout": "300",
        "duplicate-window": "60",
        "answer-timeout": "30",
        "software": "r.a.example (imxrouter 9)",
        "abuse-contact": "mailto:abuse@a.example",
        "content-types": "text/plain, text/html-lite",
        "a.example/hours": "9-17",
        "a.example/motto": "Größe",
    }


def test_what_is_hidden_is_left_out_for_strangers() -> None:
    """As if there were none, by name too."""
    assert not {"software", "a.example/motto"} & set(values(RICH))
    assert values(RICH, "software", "a.example/motto", "a.example/hours") == {"a.example/hours": "9-17"}


def test_only_what_is_asked_for_is_told() -> None:
    """A key of a user, of another domain or of nobody is left out."""
    assert values(RICH, "alias", "b.example/hours", "nothing", "idle-timeout") == {"idle-timeout": "300"}


def test_the_largest_body_fits_into_a_record() -> None:
    """A limit above what records hold is not promised."""
    facts = replace(FACTS, max_record_bytes=8192)
    assert largest_body(PLAIN, facts) == 6144
    assert largest_body(PLAIN, replace(FACTS, max_record_bytes=1280)) == 0
