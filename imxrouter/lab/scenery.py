"""What a laboratory consists of, as texts: the zone of two organisations, and their routers' configurations.

The hoster is an aggregator for customers of two tenants; the other organisation runs a gateway for its own
domain. Their domains are published in different forms, so that all three can be seen.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from imxrouter.lab.places import Place, Places

GATEWAY: Final = "gateway"
AGGREGATOR: Final = "aggregator"

#: What each router serves, for people.
SERVES: Final = {
    GATEWAY: "b.example",
    AGGREGATOR: "red.example, green.example (tenant colours), blue.example (tenant sky)",
}

#: Within so many seconds a silent link is known to be dead: as it comes, and where a failure is played.
DEAD_S: Final = 30.0
QUICK_DEAD_S: Final = 5.0

#: Each router's own name.
NAMES: Final = {GATEWAY: "im.b.example", AGGREGATOR: "im.hoster.example"}

_ZONE = """\
$ORIGIN example.
@ 60 IN SOA ns hostmaster 1 3600 600 86400 60
@ 60 IN NS ns
ns 60 IN A {dns_host}

; The routers.
im.b 60 IN A {gateway_host}
im.hoster 60 IN A {aggregator_host}

; b.example and red.example publish the IMX record,
b 60 IN IMX 1 im.b.example. port={gateway_port}
red 60 IN IMX 1 im.hoster.example. port={aggregator_port}
; green.example the same data as SVCB,
_imx.green 60 IN SVCB 1 im.hoster.example. port={aggregator_port}
; blue.example SRV.
_im._imx.blue 60 IN SRV 1 0 {aggregator_port} im.hoster.example.
_imx._tcp.blue 60 IN SRV 1 0 {aggregator_port} im.hoster.example.
"""

_ROUTER = """\
name = "{name}"
role = "{role}"
lab = true
state_dir = "{folder}/state"
run_dir = "{folder}"
listen.addresses = ["{links}"]
metrics.listen = "{metrics}"
dns.nameservers = ["{dns}"]
# Without certificates: both agree to dial-back in clear, on loopback only.
trust.default_policy = "dialback"
dial.allow_networks = ["127.0.0.0/8"]
links.close_deadline_s = 2
log.addresses = "full"
"""

_QUICK = f"""
# A failure is played: what takes half a minute takes seconds.
links.ping_s = 1
links.dead_s = {QUICK_DEAD_S}
dial.hello_timeout_s = 1
dial.backoff_first_s = 0.5
dial.backoff_cap_s = 2
"""

_GATEWAY_SERVES = """
[[service]]
name = "staff"
kind = "embedded"
users = ["bob", "carla"]

[[domain]]
name = "b.example"
service = "staff"
"""

_AGGREGATOR_SERVES = """
[[service]]
name = "colours"
kind = "embedded"
users = ["rosa", "greta"]

[[service]]
name = "sky"
kind = "embedded"
users = ["blanca"]

[[domain]]
name = "red.example"
service = "colours"
tenant = "colours"

[[domain]]
name = "green.example"
service = "colours"
tenant = "colours"

[[domain]]
name = "blue.example"
service = "sky"
tenant = "sky"
"""


@dataclass(frozen=True, slots=True)
class Scene:
    """One message of the story.

    Attributes:
        title: what there is to see.
        sender: router it starts at.
        source: who writes.
        destination: to whom.
        text: what.
        shows: (router, step) in the order in which they must be seen.
    """

    title: str
    sender: str
    source: str
    destination: str
    text: str
    shows: tuple[tuple[str, str], ...]


STORY: Final = (
    Scene(
        "a first message: both routers find each other by DNS, and b.example is proved by dial-back",
        GATEWAY,
        "bob@b.example",
        "rosa@red.example",
        "Hello Rosa, can you hear me?",
        (
            (GATEWAY, "accepted"),
            (GATEWAY, "look-up"),
            (GATEWAY, "connection"),
            (GATEWAY, "claim"),
            (AGGREGATOR, "claim"),
            (AGGREGATOR, "look-up"),
            (AGGREGATOR, "connection"),
            (AGGREGATOR, "verification"),
            (GATEWAY, "verification"),
            (GATEWAY, "answer released"),
            (AGGREGATOR, "proved"),
            (GATEWAY, "proved"),
            (GATEWAY, "sent"),
            (AGGREGATOR, "delivery"),
            (GATEWAY, "answer"),
        ),
    ),
    Scene(
        "the reply takes the link that is proved: nothing is looked up or dialled",
        AGGREGATOR,
        "rosa@red.example",
        "bob@b.example",
        "Loud and clear, Bob.",
        ((AGGREGATOR, "accepted"), (GATEWAY, "delivery"), (AGGREGATOR, "answer")),
    ),
    Scene(
        "another customer of the same router, over the link that is there: blue.example is proved for itself",
        AGGREGATOR,
        "blanca@blue.example",
        "bob@b.example",
        "Greetings from the blue side.",
        (
            (AGGREGATOR, "accepted"),
            (AGGREGATOR, "claim"),
            (GATEWAY, "claim"),
            (GATEWAY, "look-up"),
            (GATEWAY, "verification"),
            (AGGREGATOR, "verification"),
            (AGGREGATOR, "answer released"),
            (GATEWAY, "proved"),
            (AGGREGATOR, "proved"),
            (AGGREGATOR, "sent"),
            (GATEWAY, "delivery"),
            (AGGREGATOR, "answer"),
        ),
    ),
)


def zone(places: Places) -> str:
    """The zone both organisations stand in."""
    return _ZONE.format(
        dns_host=places.dns.host,
        gateway_host=places.gateway.host,
        gateway_port=places.gateway.port,
        aggregator_host=places.aggregator.host,
        aggregator_port=places.aggregator.port,
    )


def configuration(role: str, places: Places, folder: str, *, quick: bool = False) -> str:
    """The configuration of one router.

    Args:
        role: `GATEWAY` or `AGGREGATOR`.
        places: where everything listens.
        folder: for its sockets and state.
        quick: a silent link is known to be dead within `QUICK_DEAD_S`.
    """
    links, metrics, serves = {
        GATEWAY: (places.gateway, places.gateway_metrics, _GATEWAY_SERVES),
        AGGREGATOR: (places.aggregator, places.aggregator_metrics, _AGGREGATOR_SERVES),
    }[role]
    return (
        _ROUTER.format(
            name=NAMES[role], role=role, folder=folder, links=links, metrics=metrics, dns=places.dns
        )
        + (_QUICK if quick else "")
        + serves
    )


def links_of(role: str, places: Places) -> Place:
    """Where a router takes links."""
    return places.gateway if role == GATEWAY else places.aggregator
