"""From the configuration to the values that the parts take: what is written there is obeyed."""

from __future__ import annotations

from imxrouter import __version__
from imxrouter.app.settings import discovery_limits, hub_settings
from imxrouter.config.load import Document, parse
from imxrouter.config.schema import Config
from imxrouter.discovery.answers import Answer, Status
from imxrouter.discovery.cache import CacheLimits
from imxrouter.transport.settings import HubSettings


def config(text: str = "") -> Config:
    """A configuration with one domain and more lines before its tables."""
    tables = '[[service]]\nname = "home"\nkind = "embedded"\nusers = ["a"]\n'
    tables += '[[domain]]\nname = "a.example"\nservice = "home"\n'
    return parse(Document("test", f'name = "im.a.example"\n{text}\n{tables}')).config


def test_defaults_are_those_of_the_specifications() -> None:
    """An empty configuration gives what the parts have without one."""
    cache, _ = discovery_limits(config().dns)
    default = CacheLimits(entries=cache.entries, negative_entries=cache.negative_entries)
    assert cache == default
    hub = hub_settings(config())
    for name in ("claim_deadline_s", "clock_skew_s", "token_ttl_s", "hold_s", "proof_max_age_s", "link"):
        assert getattr(hub, name) == getattr(HubSettings(), name), name


def test_hello_tells_the_routers_name_and_software() -> None:
    """For people on the other side, who see it in `imxctl links`."""
    assert hub_settings(config()).software == f"im.a.example (imxrouter {__version__})"


def test_answers_are_kept_as_long_as_configured() -> None:
    """Floor, cap, and the times for clean noes and failures."""
    text = "dns.ttl_floor_s = 20\ndns.ttl_cap_s = 40\ndns.negative_ttl_s = 30\ndns.failure_ttl_s = 2"
    cache, _ = discovery_limits(config(text).dns)
    kept = [
        cache.keep_s(Answer(status, ttl_s=ttl_s))
        for status, ttl_s in (
            (Status.RECORDS, 0.0), (Status.RECORDS, 25.0), (Status.RECORDS, 99.0), (Status.NXDOMAIN, 99.0),
            (Status.TIMEOUT, 99.0),
        )
    ]  # fmt: skip
    assert kept == [20, 25, 40, 30, 2]


def test_times_of_claims_are_as_configured() -> None:
    """Deadline and clock skew."""
    hub = hub_settings(config("dialback.claim_timeout_s = 7\ndialback.clock_skew_s = 3"))
    assert (hub.claim_deadline_s, hub.clock_skew_s) == (7, 3)
