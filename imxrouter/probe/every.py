"""Checks a domain by each protocol at once, and puts together what came of it."""

from __future__ import annotations

import random
import secrets
import time
from collections.abc import Sequence
from typing import Any, Final

from twisted.internet.defer import Deferred

from imxrouter.discovery.adapter import NameServerAsker
from imxrouter.discovery.guard import LOW_PORTS, DialGuard
from imxrouter.model.domain import Domain
from imxrouter.probe.check import Checker, Terms
from imxrouter.probe.encrypted import outside_probe
from imxrouter.probe.report import CheckView, Report, view_of_all
from imxrouter.probe.stream_check import StreamChecker
from imxrouter.transport.opening import TcpOpener

#: Protocols in the order in which a router prefers them.
PROTOCOLS: Final = ("imx", "xmpp")


def check_all(
    reactor: Any, domain: Domain, terms: Terms, protocols: Sequence[str] = PROTOCOLS
) -> Deferred[CheckView]:
    """Check a domain over the network by these protocols, all at once.

    Raises:
        BadNameServer: a name server cannot be understood, or there is none.
        BadAnchors: a file of authorities cannot be used.
    """
    alone = len(protocols) == 1
    made = {name: make_checker(reactor, terms, name, by_address=alone) for name in protocols}
    running = {name: one.run(domain) for name, one in made.items()}
    return Deferred.fromCoroutine(_all(running))


async def _all(running: dict[str, Deferred[Report]]) -> CheckView:
    return view_of_all({name: await one for name, one in running.items()})


def make_checker(reactor: Any, terms: Terms, protocol: str, *, by_address: bool = False) -> Checker:
    """Make what checks a domain from outside by one protocol."""
    asker = NameServerAsker(reactor, terms.name_servers, question_s=terms.timeout_s)
    every = ("0.0.0.0/0", "::/0")
    guard = DialGuard(every, range(LOW_PORTS)) if terms.lab else DialGuard()
    kind = StreamChecker if protocol == "xmpp" else Checker
    checker = kind(
        reactor, asker.ask, guard, TcpOpener(reactor), timeout_s=terms.timeout_s,
        chance=random.SystemRandom(), random_bytes=secrets.token_bytes, name_servers=asker.servers,
        tls=outside_probe(time.time, always=terms.tls, trust=terms.trust),
    )  # fmt: skip
    if isinstance(checker, StreamChecker):
        checker.by_address = by_address
    return checker
