"""Four resolvers by others lead a server's outside domains to its router, by the files we write."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Final, get_args

import dns.exception
import dns.message
import dns.query
import dns.rcode
import dns.rdatatype
import pytest

from imxrouter.discovery.inside_dns import Diversion, resolver_file
from imxrouter.model.resolvers import ResolverName
from tests.interop.nameservers import authoritative
from tests.interop.netlab import Network, Place, Program, program, run

pytestmark = [pytest.mark.interop, pytest.mark.needs_root]

RESOLVERS: Final[tuple[ResolverName, ...]] = get_args(ResolverName)

#: Where each resolver answers; BIND listens only at addresses that an interface has.
LISTEN: Final[dict[ResolverName, str]] = {
    "unbound": "127.0.0.54", "dnsmasq": "127.0.0.55", "kresd": "127.0.0.56", "rpz": "192.0.2.57",
}  # fmt: skip
UPSTREAM: Final = "192.0.2.53"
ROUTER: Final = "10.0.0.9"

#: The public DNS: what the server's own names and those that pass lead to, and an outside domain.
ZONE: Final = """\
$ORIGIN example.
$TTL 1
@ IN SOA ns hostmaster 1 7200 900 1209600 1
@ IN NS ns
ns IN A 192.0.2.53
_xmpp-server._tcp.a IN SRV 0 0 5269 xmpp.a
xmpp.a IN A 192.0.2.66
conference.a IN A 192.0.2.66
push.shop IN A 192.0.2.99
_xmpp-server._tcp.far IN SRV 0 0 5269 xmpp.far
_xmpps-server._tcp.far IN SRV 0 0 5270 xmpp.far
xmpp.far IN A 192.0.2.100
far IN AAAA 2001:db8::100
"""

DIVERSION: Final = Diversion(
    addresses=(ROUTER,),
    port=5269,
    own=("a.example",),
    passes=("push.shop.example",),
    upstreams=((UPSTREAM, 53),),
)

#: What an answer is: its records as text, or NODATA, NXDOMAIN.
Answer = tuple[str, ...] | str

DIVERTED: Final = ("0 0 5269 router.inside.",)

#: Question -> what all answer.
SAME: Final[dict[tuple[str, str], Answer]] = {
    ("_xmpp-server._tcp.a.example", "SRV"): ("0 0 5269 xmpp.a.example.",),
    ("xmpp.a.example", "A"): ("192.0.2.66",),
    ("conference.a.example", "A"): ("192.0.2.66",),
    ("push.shop.example", "A"): ("192.0.2.99",),
    ("router.inside", "A"): (ROUTER,),
    ("router.inside", "AAAA"): "NODATA",
}

#: Question -> what each answers.
DIFFERENT: Final[dict[tuple[str, str], dict[ResolverName, Answer]]] = {
    # dnsmasq has no record of that type: the server goes on to the address
    ("_xmpp-server._tcp.far.example", "SRV"): {
        "unbound": DIVERTED, "dnsmasq": "NODATA", "kresd": DIVERTED, "rpz": DIVERTED,
    },
    # a domain that nobody has published, and letters as a server may write them
    ("_XMPP-Server._tcp.Unheard.example", "SRV"): {
        "unbound": DIVERTED, "dnsmasq": "NODATA", "kresd": DIVERTED, "rpz": DIVERTED,
    },
    # beside a name that passes, and above it
    ("_xmpp-server._tcp.other.shop.example", "SRV"): {
        "unbound": DIVERTED, "dnsmasq": "NODATA", "kresd": DIVERTED, "rpz": DIVERTED,
    },
    ("shop.example", "A"): {
        "unbound": (ROUTER,), "dnsmasq": (ROUTER,), "kresd": "NODATA", "rpz": (ROUTER,),
    },
    ("_xmpps-server._tcp.far.example", "SRV"): {
        "unbound": DIVERTED, "dnsmasq": "NODATA", "kresd": "NODATA", "rpz": DIVERTED,
    },
    # kresd diverts nothing but those names
    ("unheard.example", "A"): {
        "unbound": (ROUTER,), "dnsmasq": (ROUTER,), "kresd": "NXDOMAIN", "rpz": (ROUTER,),
    },
    ("xmpp.far.example", "A"): {
        "unbound": (ROUTER,), "dnsmasq": (ROUTER,), "kresd": ("192.0.2.100",), "rpz": (ROUTER,),
    },
    ("far.example", "AAAA"): {
        "unbound": "NODATA", "dnsmasq": "NODATA", "kresd": ("2001:db8::100",), "rpz": "NODATA",
    },
    # dnsmasq does not tell "no such name" from "no such record"
    ("nothere.a.example", "A"): {
        "unbound": "NXDOMAIN", "dnsmasq": "NODATA", "kresd": "NXDOMAIN", "rpz": "NXDOMAIN",
    },
}  # fmt: skip

QUESTIONS: Final = [
    (resolver, question, wanted if isinstance(wanted, (tuple, str)) else wanted[resolver])
    for resolver in RESOLVERS
    for question, wanted in (SAME | DIFFERENT).items()
]


@dataclass(frozen=True, slots=True)
class Resolvers:
    """All of them, running in one namespace."""

    place: Place

    def ask(self, resolver: ResolverName, name: str, kind: str) -> Answer:
        """Put a question to one."""
        query = dns.message.make_query(name, kind)

        def send() -> dns.message.Message:
            return dns.query.udp(query, LISTEN[resolver], 4)

        answer = self.place.inside(send)
        rcode = answer.rcode()
        if rcode != dns.rcode.NOERROR:
            return dns.rcode.to_text(rcode)
        kinds = dns.rdatatype.from_text(kind)
        records = [record.to_text() for found in answer.answer if found.rdtype == kinds for record in found]
        return tuple(sorted(records)) or "NODATA"


def _commands(resolver: ResolverName, folder: Path) -> tuple[list[str], list[str]]:
    """Write the files; return the command that checks them and the one that serves."""
    folder.mkdir()
    made = resolver_file(resolver, _for(resolver))
    file = folder / Path(made.path).name
    file.write_text(made.text)
    if resolver == "unbound":
        # what a package's own file says of the process; the diversion is included as its folder is there
        main = folder / "unbound.conf"
        words = ['username: ""', 'chroot: ""', f'directory: "{folder}"', 'pidfile: ""', "use-syslog: no"]
        lines = ["server:", *(f"  {word}" for word in words), f'include: "{file}"', "remote-control:"]
        main.write_text("\n".join([*lines, "  control-enable: no", ""]))
        return [program("unbound-checkconf"), str(main)], [program("unbound"), "-d", "-p", "-c", str(main)]
    if resolver == "dnsmasq":
        serve = [program("dnsmasq"), "-k", "-C", str(file), "--user=root", "--pid-file=", "--log-facility=-"]
        return [program("dnsmasq"), "--test", "-C", str(file)], serve
    if resolver == "kresd":
        (folder / "run").mkdir()
        return [program("true")], [program("kresd"), "-n", "-c", str(file), str(folder / "run")]
    named = "\n".join(line[4:] for line in made.text.splitlines() if line.startswith(";   "))
    here = f'directory "{folder}"; pid-file none; session-keyfile "{folder}/session.key";'
    main = folder / "named.conf"
    main.write_text(named.replace("options {", f"options {{ {here}") + "\ncontrols { };\n")
    return [program("named-checkconf"), "-z", str(main)], [program("named"), "-g", "-c", str(main)]


def _for(resolver: ResolverName) -> Diversion:
    return Diversion(
        DIVERSION.addresses,
        DIVERSION.port,
        DIVERSION.own,
        DIVERSION.passes,
        DIVERSION.upstreams,
        LISTEN[resolver],
    )


@pytest.fixture(scope="module")
def resolvers(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Resolvers]:
    """The public DNS and the four, each from the file as it was written; their own checkers are content."""
    where = tmp_path_factory.mktemp("inside")
    with Network("d") as network, ExitStack() as undo:
        place = network.add("all", [f"{UPSTREAM}/24", f"{LISTEN['rpz']}/24"], UPSTREAM)
        (where / "public").mkdir()
        commands = {"public": authoritative("nsd", where / "public", {"example": ZONE}, [(UPSTREAM, 53)])}
        for resolver in RESOLVERS:
            check, commands[resolver] = _commands(resolver, where / resolver)
            run(*check)
        started = []
        for name, command in commands.items():
            started.append(Program(name, place.command(*command), where / name / "log"))
            undo.callback(started[-1].kill)
        made = Resolvers(place)
        for resolver, server in zip(RESOLVERS, started[1:], strict=True):
            server.until(lambda resolver=resolver: _answers(made, resolver), "answers")  # type: ignore[misc]
        yield made


def _answers(resolvers: Resolvers, resolver: ResolverName) -> bool:
    try:
        return resolvers.ask(resolver, "push.shop.example", "A") == ("192.0.2.99",)
    except (dns.exception.DNSException, OSError):
        return False


@pytest.mark.parametrize(
    ("resolver", "question", "wanted"), QUESTIONS, ids=[f"{r}-{n}-{k}" for r, (n, k), _ in QUESTIONS]
)
def test_answer(
    resolvers: Resolvers, resolver: ResolverName, question: tuple[str, str], wanted: Answer
) -> None:
    """Own names and those that pass are answered as published; all else leads to the router."""
    assert resolvers.ask(resolver, *question) == wanted


def test_public_dns_tells_otherwise(resolvers: Resolvers) -> None:
    """Without a diversion an outside domain leads to its own server: the rest is the files' doing."""
    query = dns.message.make_query("_xmpp-server._tcp.far.example", "SRV")
    answer = resolvers.place.inside(lambda: dns.query.udp(query, UPSTREAM, 4))
    assert [record.to_text() for record in answer.answer[0]] == ["0 0 5269 xmpp.far.example."]


def test_checker_sees_a_mistake(tmp_path: Path) -> None:
    """A file with a word that unbound does not know is not taken: its checker does check."""
    made = resolver_file("unbound", DIVERSION)
    file = tmp_path / "x.conf"
    file.write_text(made.text.replace("redirect", "redirected"))
    assert run(program("unbound-checkconf"), str(file), check=False).returncode != 0
