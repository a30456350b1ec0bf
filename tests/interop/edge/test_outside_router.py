"""A router whose users write to those of Prosody and ejabberd, as one server among others: each proof."""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import pytest

from imxrouter.admin.client import AdminClient
from imxrouter.admin.errors import AdminError
from imxrouter.admin.views import LinkView, StreamView
from imxrouter.model.errors import RouterError
from tests.interop.edge.clients import Account
from tests.interop.edge.names import DIRECT_TLS_PORT, Mode
from tests.interop.edge.places import EJABBERD, PROSODY, ROUTER, Edge
from tests.interop.netlab import Program, wait_until

pytestmark = [pytest.mark.interop, pytest.mark.needs_root]

#: What is asked of the servers' hosts of each way.
_POLICIES: Final = {Mode.CLEAR: "dialback", Mode.TLS: "dialback+tls", Mode.EXTERNAL: "certificate"}
#: What the router's links say of how a domain was proved.
_LEVELS: Final = {Mode.CLEAR: "dialback", Mode.TLS: "dialback+tls", Mode.EXTERNAL: "tls+certificate"}
#: Between two messages by which is seen whether a user is watched.
_PROBE_S: Final = 0.2
#: How long a choice of protocol lasts at least, and with the zone's TTL no longer.
_CHOICE_S: Final = 1.0
_ROOT: Final = Path(__file__).parents[3]


class OutsideRouter:
    """It, with a user `carol` at each of its hosts."""

    def __init__(self, lab: Edge, where: Path) -> None:
        where.mkdir()
        certificates = where / "certificates"
        for mode in Mode:
            if mode is not Mode.CLEAR:
                lab.authorities.for_host(ROUTER.free(mode), Mode.EXTERNAL).write(certificates, mode)
        lab.authorities.for_host(ROUTER.direct, Mode.EXTERNAL).write(certificates, "direct")
        lab.authorities.for_host(ROUTER.bidi[Mode.TLS], Mode.TLS).write(certificates, "unknown")
        trusted = where / "trusted.pem"
        trusted.write_bytes(lab.authorities.outside.issued.chain_pem)
        lines = {
            "name": "router.r.example", "state_dir": str(where / "state"), "run_dir": str(where),
            "listen.addresses": [f"{ROUTER.router}:6490"], "xmpp.listen": [f"{ROUTER.router}:5269"],
            "xmpp.listen_tls": [f"{ROUTER.router}:{DIRECT_TLS_PORT}"],
            "xmpp.tls": "offered", "tls.certificates": str(certificates), "tls.trust": [str(trusted)],
            "dns.nameservers": [f"{ROUTER.router}:53"], "dial.allow_networks": ["192.0.2.0/24"],
            "overload.lag_ms": 0, "log.level": "debug", "log.addresses": "full",
        }  # fmt: skip
        text = "".join(f"{name} = {json.dumps(value)}\n" for name, value in lines.items())
        text += '[[service]]\nname = "home"\nkind = "embedded"\nusers = ["carol"]\n'
        for mode in Mode:
            text += f'[[domain]]\nname = "{ROUTER.free(mode)}"\nservice = "home"\n'
            for side in (PROSODY, EJABBERD):
                text += f'[[trust.peer]]\ndomain = "{side.free(mode)}"\npolicy = "{_POLICIES[mode]}"\n'
        text += f'[[trust.peer]]\ndomain = "{PROSODY.bidi[Mode.TLS]}"\npolicy = "{_POLICIES[Mode.TLS]}"\n'
        for host in (ROUTER.direct, ROUTER.bidi[Mode.TLS]):
            text += f'[[domain]]\nname = "{host}"\nservice = "home"\n'
        file = where / "router.toml"
        file.write_text(text)
        self.client = AdminClient(str(where / "admin.sock"))
        self.log = where / "router.log"
        twistd = Path(sys.executable).parent / "twistd"
        command = ["/usr/bin/env", f"PYTHONPATH={_ROOT}", str(twistd), "-n", "--pidfile=", "imxrouter"]
        self._program = Program("router", lab.places["n"].command(*command, "--config", str(file)), self.log)
        self._program.until(self._answers, "answers at its administration socket")
        self._where, self._watchers = where, list[Program]()
        for host in (*map(ROUTER.free, Mode), ROUTER.direct, ROUTER.bidi[Mode.TLS]):
            self._watch(f"carol@{host}")

    def _watch(self, user: str) -> None:
        imxctl = [str(Path(sys.executable).parent / "imxctl"), "--json"]
        command = [*imxctl, "--socket", str(self._where / "admin.sock"), "watch", user]
        watcher = Program(
            f"watch {user}", ["/usr/bin/env", f"PYTHONPATH={_ROOT}", *command], self._file(user)
        )
        self._watchers.append(watcher)

        def is_seen() -> bool:
            if not self.read(user):
                self.client.send(user, user, "are you there?")
                time.sleep(_PROBE_S)
            return bool(self.read(user))

        watcher.until(is_seen, "shows a message of the user to himself")

    def _file(self, user: str) -> Path:
        return self._where / f"{user}.seen"

    def read(self, user: str) -> list[str]:
        """The texts that a user received, in their order."""
        lines = self._file(user).read_text().splitlines(keepends=True)
        return [json.loads(line)["text"] for line in lines if line.endswith("\n")]

    def _answers(self) -> bool:
        try:
            return self.client.status()["ready"]
        except (AdminError, RouterError):
            return False

    def kill(self) -> None:
        """End it as kill -9 does."""
        for one in (*self._watchers, self._program):
            one.kill()


@pytest.fixture(scope="module")
def router(built: Edge, tmp_path_factory: pytest.TempPathFactory) -> Iterator[OutsideRouter]:
    """It, running; once for all tests of this file."""
    made = OutsideRouter(built, tmp_path_factory.mktemp("outside") / "router")
    yield made
    made.kill()


def _user(lab: Edge, server: str, mode: Mode) -> Account:
    side = PROSODY if server == "prosody" else EJABBERD
    return lab.clients.login(lab.fresh("alice", side.free(mode)), side.server)


def _levels(router: OutsideRouter, peer: str) -> set[str]:
    """At what a domain was proved, on any link."""
    return {
        claim["level"]
        for link in router.client.links()
        for claim in link["claims"]
        if claim["theirs"] == peer and claim["state"] == "proved" and claim["direction"] == "received"
    }


def _write_both_ways(router: OutsideRouter, carol: str, alice: Account, first: str) -> None:
    """A message from each to the other, whoever's side is first; each arrives once."""
    there, back = (f"{way} {time.monotonic_ns()}" for way in ("to you,", "to carol,"))

    def write() -> None:
        outcome = router.client.send(carol, alice.address, there)
        assert outcome["status"] == "success", outcome
        alice.until_reads(there, carol)
        assert alice.count(there) == 1

    def answer() -> None:
        alice.ask("message", to=carol, text=back)
        wait_until(lambda: router.read(carol).count(back), f"{carol} reads it")

    for step in (write, answer) if first == "router" else (answer, write):
        step()
    assert router.read(carol).count(back) == 1


@pytest.mark.parametrize("mode", Mode)
@pytest.mark.parametrize("first", ["router", "server"])
@pytest.mark.parametrize("server", ["prosody", "ejabberd"])
def test_messages_both_ways(lab: Edge, router: OutsideRouter, server: str, first: str, mode: Mode) -> None:
    """Whoever writes first; each domain is proved as policy asks, and each message arrives once."""
    alice = _user(lab, server, mode)
    _write_both_ways(router, f"carol@{ROUTER.free(mode)}", alice, first)
    assert _levels(router, alice.address.partition("@")[2]) == {_LEVELS[mode]}


def _streams(router: OutsideRouter, ours: str, theirs: str) -> dict[str, tuple[LinkView, StreamView]]:
    """The streams of a pair of domains, by who opened them: `us` or `them`."""
    found = {}
    for link in router.client.links():
        stream = link["stream"]
        if stream is not None and (stream["ours"], stream["theirs"]) == (ours, theirs):
            assert link["opened_by"] not in found
            found[link["opened_by"]] = link, stream
    return found


@pytest.mark.parametrize("first", ["router", "server"])
@pytest.mark.parametrize("server", ["prosody", "ejabberd"])
def test_tls_from_the_first_byte(lab: Edge, router: OutsideRouter, server: str, first: str) -> None:
    """Both publish `_xmpps-server` and nothing else (XEP-0368): no stream could have begun in clear.

    Of three targets the third takes streams: whoever dials goes on to it.
    """
    side = PROSODY if server == "prosody" else EJABBERD
    alice = lab.clients.login(lab.fresh("alice", side.direct), side.server)
    _write_both_ways(router, f"carol@{ROUTER.direct}", alice, first)
    streams = _streams(router, ROUTER.direct, side.direct)
    assert streams["us"][0]["address"] == f"{side.server}:{DIRECT_TLS_PORT}"
    for link, stream in (streams["us"], streams["them"]):
        assert stream["proof"] == "SASL EXTERNAL"
        assert link["tls"] == "TLSv1.3"


@pytest.mark.parametrize("first", ["server", "router"])
def test_both_ways_on_one_stream(lab: Edge, router: OutsideRouter, first: str) -> None:
    """Prosody's mod_s2s_bidi and the router need one stream, whoever opened it (XEP-0288).

    It counts stanzas on it too (XEP-0198), both ways: what came is confirmed, and asked for.
    """
    theirs = PROSODY.bidi[Mode.EXTERNAL]
    alice = lab.clients.login(lab.fresh("alice", theirs), PROSODY.server)
    ours = ROUTER.free(Mode.EXTERNAL)
    for _ in range(2):
        _write_both_ways(router, f"carol@{ours}", alice, first)
    ((opened_by, (_, stream)),) = _streams(router, ours, theirs).items()
    assert opened_by == {"router": "us", "server": "them"}[first]
    assert stream["both_ways"]
    assert stream["confirmed_by"] == "acknowledgement"
    assert lab.prosody.log.since(lab.began[lab.prosody.log]).count("Requesting bidirectional stream") == (
        first == "server"
    )


@pytest.mark.parametrize("first", ["server", "router"])
@pytest.mark.parametrize("vouched", [True, False], ids=["vouched for", "unknown"])
def test_both_ways_by_dialback(lab: Edge, router: OutsideRouter, vouched: bool, first: str) -> None:
    """Where keys are asked for as well (XEP-0220) each side opens one stream at most, whoever is first.

    The router has not chosen how to reach that host when its server comes first; it does so on the way, and
    more than once, and opens nothing for it.
    """
    theirs = PROSODY.bidi[Mode.TLS]
    alice = lab.clients.login(lab.fresh("alice", theirs), PROSODY.server)
    ours = ROUTER.free(Mode.TLS) if vouched else ROUTER.bidi[Mode.TLS]
    until = time.monotonic() + 2 * _CHOICE_S
    while time.monotonic() < until:
        _write_both_ways(router, f"carol@{ours}", alice, first)
        time.sleep(_PROBE_S)  # more often would be over the limits of a sender
    streams = _streams(router, ours, theirs)
    # who proves himself by a key is asked about it on the other side's stream; by a certificate on none
    assert set(streams) == ({"us"} if vouched and first == "router" else {"us", "them"})
    assert all(stream["both_ways"] for _, stream in streams.values())


@pytest.mark.parametrize("server", ["prosody", "ejabberd"])
def test_attributes_over_xmpp(lab: Edge, router: OutsideRouter, server: str) -> None:
    """What the servers' users and domains tell of themselves is asked for where they are, by XMPP."""
    alice = _user(lab, server, Mode.CLEAR)
    carol, host = f"carol@{ROUTER.free(Mode.CLEAR)}", alice.address.partition("@")[2]
    alice.ask("publish_card", name="Alice")
    view = router.client.attributes(alice.address, ["alias"], carol)
    assert [one["value"] for one in view["values"]] == ["Alice"], view
    view = router.client.attributes(f"@{host}", [], carol)
    assert {one["name"]: one["value"].lower() for one in view["values"]} == {"software": server}, view
    router.client.user(carol).set_attribute("alias", "Carol")
    assert alice.ask("card", of=carol) == "Carol"
    assert alice.ask("ping", to=carol.partition("@")[2]) < 20
