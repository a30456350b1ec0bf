"""Another organisation cannot be reached: names, addresses, ports, and what answers there.

Seen by the sender's router and, in the same words, by `imxctl check` from outside.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from imxrouter.discovery.answers import TYPE_IMX, Answer
from imxrouter.discovery.answers import Status as DnsStatus
from imxrouter.discovery.records import Target, imx_record
from imxrouter.model.vocabulary import Reason
from imxrouter.wire.control import Hello
from tests.doubles.raw_peer import Endpoint
from tests.doubles.router_rig import free_port, fresh_address
from tests.staged.scene import Case, Scene, Told

Z = "z.example"
#: Where something takes its time and never comes: as short as no machine is slow.
SHORT = {
    "dns.query_timeout_s": 0.1, "dns.lookup_timeout_s": 0.3, "dial.connect_timeout_s": 0.2,
    "dial.hello_timeout_s": 0.2, "links.ping_s": 0.2,
}  # fmt: skip
SHORT_CHECK_S = 0.3


def _write(scene: Scene, **settings: object) -> Told:
    """Alice writes to Zoe, whose domain is checked from outside as well."""
    a = scene.router("a.example", settings=settings)
    told = scene.say(a, "alice@a.example", f"zoe@{Z}")
    told.check, told.at = Z, a.ip
    return told


def _in_vain(scene: Scene) -> Told:
    """The same where nothing ever comes back."""
    told = _write(scene, **SHORT)
    told.wait_s = SHORT_CHECK_S
    return told


def _zone(*lines: str) -> Callable[[Scene], Told]:
    def play(scene: Scene) -> Told:
        scene.lab.zones.load("".join(f"{line}\n" for line in (f"$ORIGIN {Z}.", "$TTL 60", *lines)))
        return _write(scene)

    return play


def _failing(status: DnsStatus) -> Callable[[Scene], Told]:
    def play(scene: Scene) -> Told:
        scene.lab.zones.set(Z, TYPE_IMX, Answer(status, note="SERVFAIL"))
        return _write(scene)

    return play


def _silent_dns(scene: Scene) -> Told:
    scene.lab.zones.hang(Z, TYPE_IMX)
    return _in_vain(scene)


def _forbidden(scene: Scene) -> Told:
    scene.lab.publish(Z, ("10.0.0.1", 6490))
    told = _write(scene)
    told.lab = False
    return told


def _low_port(scene: Scene) -> Told:
    scene.lab.publish(Z, ("8.8.8.8", 25))
    told = _write(scene)
    told.lab = False
    return told


def _at(
    place: Callable[[Scene], Endpoint], write: Callable[[Scene], Told] = _write
) -> Callable[[Scene], Told]:
    def play(scene: Scene) -> Told:
        scene.lab.publish(Z, place(scene))
        return write(scene)

    return play


def _closed_port(_scene: Scene) -> Endpoint:
    ip = fresh_address()
    return ip, free_port(ip)


def _wrong_port(scene: Scene) -> Told:
    z = scene.router(Z, publish=False)
    scene.lab.publish(Z, (z.ip, free_port(z.ip)))
    return _write(scene)


def _nowhere(scene: Scene) -> Told:
    scene.lab.publish(Z, ("255.255.255.255", 6490))
    return _write(scene, **{"dial.allow_networks": ["255.255.255.255/32"]})


def _saying(**words: bytes | bool) -> Callable[[Scene], Told]:
    return _at(lambda scene: scene.speaker(**words))  # type: ignore[arg-type]


def _wants_tls(scene: Scene) -> Told:
    record = imx_record(Target(f"im1.{Z}", tls="required")).to_text()
    scene.lab.zones.load(f"$ORIGIN {Z}.\n$TTL 60\n@ IN IMX {record}\nim1 IN A 127.0.0.1\n")
    return _write(scene)


def _full(scene: Scene) -> Told:
    """All that one address may have open without a proof is open."""
    z = scene.router(Z, settings={"caps.unauthenticated_per_address": 1})
    a = scene.router("a.example")
    scene.peer(z, a.ip).hello()
    told = scene.say(a, "alice@a.example", f"zoe@{Z}")
    told.check, told.at = Z, a.ip
    return told


def _going(scene: Scene) -> Told:
    z = scene.router(Z)

    def close() -> None:
        z.router.hub.closing = True

    z.call(close)
    return _write(scene)


def _again(scene: Scene) -> Told:
    """The second message, while the first one's failure is fresh."""
    scene.lab.publish(Z, _closed_port(scene))
    a = scene.router("a.example", settings={"dial.backoff_first_s": 300, "dial.backoff_cap_s": 600})
    assert not scene.say(a, "alice@a.example", f"zoe@{Z}").answer.ok
    asked = list(scene.lab.zones.asked)
    told = scene.say(a, "alice@a.example", f"zoe@{Z}")
    assert scene.lab.zones.asked == asked, "nothing is tried before its time"
    assert told.answer.retry_after_s > 100
    return told


_SMTP = b"220 mail.z.example ESMTP ready\r\n"
_HTTP = b"HTTP/1.1 400 Bad Request\r\nConnection: close\r\n\r\n"

_SEEN = [
    Case("no such domain", "the domain after the @ is misspelt, or its registration has ended",
         _write, Reason.NO_SUCH_DOMAIN),
    Case("DNS server failure", "the domain's name servers answer SERVFAIL: DNSSEC broken, zone not loaded",
         _failing(DnsStatus.FAILURE), Reason.DNS_FAILURE),
    Case("DNS silent", "no answer comes from the resolver or the domain's name servers",
         _silent_dns, Reason.DNS_TIMEOUT),
    Case("no record", "the domain exists and publishes nothing for messages",
         _zone("@ IN A 192.0.2.1"), Reason.NO_IMX_RECORD),
    Case("no service wanted", "the domain publishes `0 .`: it takes no messages",
         _zone("@ IN IMX 0 ."), Reason.NO_SERVICE),
    Case("broken record", "what the domain publishes cannot be understood",
         _failing(DnsStatus.MALFORMED), Reason.BAD_DNS_RECORD),
    Case("aliases in a circle", "the record leads to another name and from there back",
         _zone("@ IN IMX 0 other", "other IN IMX 0 @"), Reason.BAD_DNS_RECORD),
    Case("target without an address", "the record names a host that has neither an A nor an AAAA record",
         _zone("@ IN IMX 1 im port=6490", "im IN TXT here"), Reason.NO_ADDRESS),
    Case("private address", "the record leads to an address that no router dials",
         _forbidden, Reason.ADDRESS_REFUSED),
    Case("low port", "the record leads to the port of another protocol, such as 25",
         _low_port, Reason.ADDRESS_REFUSED),
    Case("host refuses", "the router of the domain is stopped",
         _at(_closed_port), Reason.CONNECTION_REFUSED),
    Case("wrong port", "the router listens, at another port than the record says",
         _wrong_port, Reason.CONNECTION_REFUSED),
    Case("black hole", "a firewall drops what comes, or the host is off",
         _at(Scene.black_hole, _in_vain), Reason.CONNECT_TIMEOUT),
    Case("no route", "the network has no way to the address",
         _nowhere, Reason.UNREACHABLE),
    Case("record asks for TLS", "the domain takes links over TLS only, and this router has no TLS",
         _wants_tls, Reason.WEAKER_THAN_POLICY, seen_at="connect"),
    Case("connects, says nothing", "something takes the connection and never answers",
         _at(Scene.speaker, _in_vain), Reason.HELLO_TIMEOUT, links={Reason.HELLO_TIMEOUT: 1}),
    Case("another protocol greets", "a mail server answers at the port",
         _saying(greets=_SMTP), Reason.PROTOCOL_ERROR, links={Reason.PROTOCOL_ERROR: 1}),
    Case("another protocol answers", "a web server answers at the port",
         _saying(answers=_HTTP), Reason.PROTOCOL_ERROR, links={Reason.PROTOCOL_ERROR: 1}),
    Case("hangs up", "something ends the connection at once, such as a proxy without a backend",
         _saying(hangs_up=True), Reason.LINK_LOST, links={Reason.LINK_LOST: 1}),
    Case("other version", "the router there speaks no version that we speak",
         _saying(answers=Hello((9,)).encode()), Reason.VERSION_MISMATCH, links={Reason.VERSION_MISMATCH: 1}),
    Case("over the cap of connections", "too many connections of our address are open there",
         _full, Reason.OVER_CAP, by=Z, seen_at="peer", links={Reason.OVER_CAP: 1}),
    Case("router there is stopping", "the router there is being restarted",
         _going, Reason.SHUTTING_DOWN, by=Z, seen_at="peer", links={Reason.SHUTTING_DOWN: 1}),
]  # fmt: skip

CASES = [
    *(replace(case, checked=True) for case in _SEEN),
    Case("still backing off", "another message a moment after a failure: nothing is tried yet",
         _again, Reason.CONNECTION_REFUSED, counted={Reason.CONNECTION_REFUSED: 2}),
]  # fmt: skip
