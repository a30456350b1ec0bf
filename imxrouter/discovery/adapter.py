"""Asks name servers: dnspython's resolver on a Twisted reactor, its answers as our values.

Query ids are random (dnspython), source ports are the kernel's random ones, and sockets are connected; an
answer must match the question or it is passed over. Truncated UDP answers are asked for again over TCP.
"""

from __future__ import annotations

import socket
from collections.abc import Iterable
from ipaddress import ip_address
from typing import Any, Final, Literal

import dns.asyncresolver
import dns.exception
import dns.flags
import dns.inet
import dns.message
import dns.name
import dns.nameserver
import dns.query
import dns.rcode
import dns.rdatatype
import dns.resolver
from twisted.internet.defer import CancelledError, Deferred
from twisted.python.failure import Failure

from imxrouter.discovery import rdata as _imx_type
from imxrouter.discovery.answers import Answer, Status
from imxrouter.discovery.backend import Cancelled, GoOn, TwistedBackend
from imxrouter.model.errors import RouterError

#: Seconds for one server before the next is asked. With two servers each is asked twice in the time limit.
ATTEMPT_S = 1.5

#: Seconds for one question, over all servers and repetitions; one more than the finder waits would be lost.
QUESTION_S = 5.0

#: UDP answers above this come truncated and are asked for over TCP; fits every path unfragmented (DNS flag
#: day 2020).
UDP_PAYLOAD_OCTETS = 1232

#: Where name servers stand unless the configuration names some.
RESOLV_CONF = "/etc/resolv.conf"


#: Whose AD bit is believed: that of resolvers on this machine, or nobody's.
TrustAd = Literal["loopback", "never"]

#: Marks a question to which a server has answered SERVFAIL.
_DOUBTED: Final = "_imxrouter_doubted"


class BadNameServer(RouterError):
    """A configured name server is no `ADDRESS` or `ADDRESS:PORT`, or there is none."""


class MalformedAnswer(dns.exception.FormError):
    """An answer to our very question holds something that cannot be parsed."""


class _NameServer(dns.nameserver.Do53Nameserver):
    """Like dnspython's, but tells a malformed record from a forged packet, and a failure from "not signed".

    dnspython parses first and skips what does not parse, so that a broken record ends as a time-out. And it
    asks the next server after a SERVFAIL: where the first found a forgery, one that does not validate would
    pass it on as an answer of an unsigned zone.
    """

    def __init__(self, address: str, port: int, *, trusted: bool) -> None:
        super().__init__(address, port)
        self._trusted = trusted  # its answers may count as validated

    async def async_query(
        self,
        request: Any,
        timeout: float,  # noqa: ASYNC109 - dnspython's signature
        source: str | None,
        source_port: int,
        max_size: bool,
        backend: Any,
        one_rr_per_rrset: bool = False,
        ignore_trailing: bool = False,
    ) -> Any:
        if max_size:
            response = await super().async_query(
                request, timeout, source, source_port, max_size, backend, one_rr_per_rrset, ignore_trailing
            )
        else:
            response = await self._by_udp(request, timeout, backend)
        self._doubt(request, response)
        return response

    def _doubt(self, request: Any, response: dns.message.Message) -> None:
        """Take back an unvalidated answer to a question that another server failed at."""
        if self._trusted and response.rcode() == dns.rcode.SERVFAIL:
            setattr(request, _DOUBTED, True)
        elif getattr(request, _DOUBTED, False) and not response.flags & dns.flags.AD:
            response.set_rcode(dns.rcode.SERVFAIL)

    async def _by_udp(self, request: Any, timeout: float, backend: Any) -> dns.message.Message:  # noqa: ASYNC109
        family = dns.inet.af_for_address(self.address)
        udp = await backend.make_socket(family, socket.SOCK_DGRAM, 0, None, (self.address, self.port))
        async with udp:
            response: dns.message.Message = await backend.wait_for(_exchange(udp, request), timeout)
            return response


async def _exchange(udp: Any, request: dns.message.Message) -> dns.message.Message:
    await udp.sendto(request.to_wire(), None, None)
    while True:
        wire, _ = await udp.recvfrom(65535, None)
        try:
            response = dns.message.from_wire(wire, continue_on_error=True)
        except (dns.exception.DNSException, ValueError):
            continue  # not even a header and a question: not from the server
        if not request.is_response(response):
            continue
        if response.flags & dns.flags.TC:
            raise dns.message.Truncated(message=response)  # type: ignore[no-untyped-call]
        if response.errors:
            raise MalformedAnswer(str(response.errors[0].exception))  # type: ignore[no-untyped-call]
        return response


class NameServerAsker:
    """Asks name servers. `ask` is the interface that `Finder` needs.

    Args:
        reactor: with UDP, TCP and time.
        servers: `ADDRESS` or `ADDRESS:PORT` (IPv6 with a port in brackets); none takes `resolv_conf`.
        question_s: time limit of one question.
        trust_ad: `loopback`: the AD bit is believed where every server is on this machine, because anybody
            on the way can set a bit; `never`: not even there, as where they do not validate themselves.
        resolv_conf: where servers are read from.
        go_on: goes on with what an answer is for, now or soon.

    Raises:
        BadNameServer: a server cannot be understood, or there is none.
    """

    def __init__(
        self,
        reactor: Any,
        servers: Iterable[str] = (),
        *,
        question_s: float = QUESTION_S,
        trust_ad: TrustAd = "loopback",
        resolv_conf: str = RESOLV_CONF,
        go_on: GoOn = lambda then: then(),
    ) -> None:
        self._reactor = reactor
        self._backend = TwistedBackend(reactor, go_on)
        self._question_s = question_s
        self._resolver = dns.asyncresolver.Resolver(configure=False)
        places = [parse_server(text) for text in servers] or _from_resolv_conf(resolv_conf)
        #: whether answers can count as validated with DNSSEC
        self.trusts_ad = trust_ad == "loopback" and all(is_loopback(address) for address, _ in places)
        self._resolver.nameservers = [
            _NameServer(address, port, trusted=self.trusts_ad) for address, port in places
        ]
        self._resolver.timeout = ATTEMPT_S
        self._resolver.lifetime = question_s
        self._resolver.cache = None
        self._resolver.flags = dns.flags.RD | dns.flags.AD  # AD in a query asks for AD: RFC 6840 section 5.7
        # Some local resolvers tell AD only to those who ask for signatures too (DO, RFC 6840 section 5.8).
        self._resolver.use_edns(0, dns.flags.DO if self.trusts_ad else 0, UDP_PAYLOAD_OCTETS)
        self.servers = tuple(f"[{host}]:{port}" if ":" in host else f"{host}:{port}" for host, port in places)

    def ask(self, name: str, rdtype: int) -> Deferred[Answer]:
        """Ask one question; the answer never fails, failures are answers. Cancelling closes the sockets."""
        asking = Deferred.fromCoroutine(self._ask(name, rdtype))
        asking.addErrback(_as_cancelled)
        return asking

    async def _ask(self, name: str, rdtype: int) -> Answer:
        try:
            asked = dns.name.from_text(name + ".")
            answer = await self._resolver.resolve(
                asked,
                dns.rdatatype.RdataType.make(rdtype),
                lifetime=self._question_s,
                search=False,
                raise_on_no_answer=False,
                backend=self._backend,
            )
        except dns.resolver.NXDOMAIN as error:
            response = next(iter(error.kwargs["responses"].values()))
            ttl_s = response.resolve_chaining().minimum_ttl
            return Answer(Status.NXDOMAIN, ttl_s=float(ttl_s), secure=self._is_secure(response))
        except dns.resolver.LifetimeTimeout as error:
            return _failure(Status.TIMEOUT, error.kwargs.get("errors", []))
        except dns.resolver.NoNameservers as error:
            return _failure(Status.FAILURE, error.kwargs.get("errors", []))
        except (dns.exception.DNSException, OSError, ValueError) as error:
            return Answer(Status.FAILURE, note=f"{type(error).__name__}: {error}"[:200])
        return self._read(answer)

    def _read(self, answer: dns.resolver.Answer) -> Answer:
        secure = self._is_secure(answer.response)
        ttl_s = float(answer.chaining_result.minimum_ttl)
        if answer.rrset is None:
            return Answer(Status.NODATA, ttl_s=ttl_s, secure=secure)
        return Answer(
            Status.RECORDS,
            tuple(rdata.to_wire() or b"" for rdata in answer.rrset),
            answer.canonical_name.to_text(omit_final_dot=True).lower(),
            ttl_s,
            secure,
        )

    def _is_secure(self, response: dns.message.Message) -> bool:
        return self.trusts_ad and bool(response.flags & dns.flags.AD)


def is_loopback(address: str) -> bool:
    """Whether an address is of 127.0.0.0/8, or `::1`; an IPv4 address inside an IPv6 one is not."""
    bare = ip_address(address.partition("%")[0])
    return bare.is_loopback and getattr(bare, "ipv4_mapped", None) is None


def parse_server(text: str) -> tuple[str, int]:
    """Read `192.0.2.1`, `192.0.2.1:53`, `2001:db8::1` or `[2001:db8::1]:53`.

    Raises:
        BadNameServer: it is none of them.
    """
    host, port = text.strip(), "53"
    if host.startswith("["):
        host, _, rest = host[1:].partition("]")
        port = rest.removeprefix(":") or port
    elif host.count(":") == 1:
        host, _, port = host.partition(":")
    bare = host.partition("%")[0]
    if not dns.inet.is_address(bare) or not port.isascii() or not port.isdigit() or not 0 < int(port) < 65536:
        raise BadNameServer(f"name server {text!r} is not ADDRESS or ADDRESS:PORT")
    return host, int(port)


def _from_resolv_conf(path: str) -> list[tuple[str, int]]:
    reader = dns.resolver.Resolver(configure=False)
    try:
        reader.read_resolv_conf(path)
    except (dns.exception.DNSException, OSError) as error:
        raise BadNameServer(f"no name server in {path}: {error}") from None
    servers = [str(server) for server in reader.nameservers]
    places = [(server, 53) for server in servers if dns.inet.is_address(server.partition("%")[0])]
    if not places:
        raise BadNameServer(f"no name server in {path}")
    return places


def _failure(status: Status, errors: Iterable[Any]) -> Answer:
    """Sum up what each server did; a malformed answer from any of them says most."""
    notes: list[str] = []
    for server, _, _, error, response in errors:
        if isinstance(error, dns.exception.FormError) and not isinstance(error, dns.query.BadResponse):
            return Answer(Status.MALFORMED, note=f"{server}: {error}"[:200])
        if response is not None:
            status = Status.FAILURE
            notes.append(f"{server}: {dns.rcode.to_text(response.rcode())}")
        else:
            notes.append(f"{server}: {str(error) or type(error).__name__}")
    return Answer(status, note="; ".join(dict.fromkeys(notes))[:200])


def _as_cancelled(failure: Failure) -> Any:
    """Our way through dnspython's `except Exception` becomes Twisted's word again."""
    if isinstance(failure.value, Cancelled):
        raise CancelledError
    return failure


_imx_type.register()
