"""A router process that is reloaded again and again while a peer in this process writes to it.

The process serves 500 domains of 50 tenants and is pinned at the peer, as the peer is at the process, so that
no DNS is needed; their links are in TLS, under the strongest policy. What the peer sends must all be
delivered, and no link between the two may end.
"""

from __future__ import annotations

import itertools
import os
import socket
import ssl
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

from cryptography.hazmat.primitives.serialization import Encoding

from imxrouter.admin.client import AdminClient, AdminUnreachable
from imxrouter.admin.config_views import ReloadView
from tests.doubles.authority import DAY, Authority, Issued
from tests.doubles.router_rig import Lab, RouterRig, Sent, free_port, fresh_address
from tests.doubles.twistd import start_router

DOMAINS, TENANTS = 500, 50
#: Domains that the peer writes to; each has a claim of its own.
WRITTEN_TO = 20
#: Messages under way at one time.
UNDER_WAY = 40

HEAD = """\
name = "im.hoster.example"
role = "aggregator"
state_dir = "{folder}/state"
run_dir = "{folder}"
listen.addresses = ["{ip}:{port}"]
metrics.listen = ""
trust.default_policy = "dialback+certificate"
tls.trust = ["{folder}/root.crt"]
dial.allow_networks = ["127.0.0.0/8"]
links.close_deadline_s = 1
log.level = "{level}"
log.file = "{folder}/log"
log.trace_entries = 1000
tls.certificates = "{folder}/certificates"
tls.watch_s = 0
overload.lag_ms = 0
limits.sender_rate_per_s = 100000
limits.sender_burst = {burst}
limits.recipient_rate_per_s = 100000
limits.recipient_burst = 100000
caps.connections_per_address_per_minute = 100000
caps.connections_per_prefix_per_minute = 100000
links.max_hops = {hops}

[[service]]
name = "home"
kind = "embedded"
users = ["alice"]
"""
PEER = '[[peer]]\ndomain = "b.example"\naddresses = ["{}:{}"]\n'
DOMAIN = '[[domain]]\nname = "d{}.hoster.example"\nservice = "home"\ntenant = "t{}"\n'
MORE = '[[service]]\nname = "more{}"\nkind = "imx"\nkey = "{:064x}"\n'
POLICY = '[[trust.peer]]\ndomain = "other{}.example"\npolicy = "dialback+tls"\n'


class Scene:
    """One run.

    Attributes:
        reloads: how many were asked for, by result.
        certificates: the same, of the folder of certificates.
        sent: messages that were answered; all of them were delivered.
        handshakes: of strangers, one after each reload of certificates; the right one was shown in each.
    """

    def __init__(self, lab: Lab, folder: Path) -> None:
        self._lab = lab
        self._folder = folder
        ip = fresh_address()
        self._place = (ip, free_port(ip))
        self._names = [f"d{number}.hoster.example" for number in range(WRITTEN_TO)]
        pins = "".join(
            f'[[peer]]\ndomain = "{name}"\naddresses = ["{ip}:{self._place[1]}"]\n' for name in self._names
        )
        now = time.time()
        self._authority = Authority.root(not_before=now - DAY, not_after=now + 30 * DAY)
        trusted = self._authority.issued.write(folder, "root")
        theirs = folder / "theirs"
        theirs.mkdir()
        self._issue("b.example").write(theirs, "b.example")
        settings = {
            "limits.sender_rate_per_s": 100_000, "limits.sender_burst": 100_000, "tls.watch_s": 0,
            "tls.certificates": str(theirs), "tls.trust": [str(trusted)],
            "trust.default_policy": "dialback+certificate",
        }  # fmt: skip
        self.peer: RouterRig = lab.router("b.example", tables=pins, settings=settings)
        self.file = folder / "router.toml"
        self.write(0)
        #: certificates by domain: in the folder, and in use
        self._written: dict[str, bytes] = {}
        self._shown: dict[str, bytes] = {}
        self.handshakes = 0
        (folder / "certificates").mkdir()
        for one in range(WRITTEN_TO):
            self.certify(one)
        self._shown.update(self._written)
        self._process = start_router(self.file, folder / "said")
        self.console = AdminClient(str(folder / "admin.sock"))
        self._under_way: list[Sent] = []
        self._turn = itertools.cycle(self._names)
        self.sent = 0
        self.reloads: dict[str, int] = {}
        self.certificates: dict[str, int] = {}

    def begin(self) -> None:
        """Wait for the process, and open a way to each domain that is written to."""
        until = time.monotonic() + 60
        while not self._answers():
            assert time.monotonic() < until, (self._folder / "said").read_text()
            time.sleep(0.05)
        for name in self._names:
            outcome = self.peer.send("alice@b.example", f"alice@{name}").outcome()
            assert outcome.ok, outcome
        assert all(one.tls is not None for one in self.peer.sessions())
        self.links = self.link_numbers()
        assert self.links

    def _answers(self) -> bool:
        try:
            return self.console.status()["ready"]
        except (AdminUnreachable, OSError):
            return False

    def write(self, number: int) -> None:
        """The file of the reload of that number: each differs from the one before in another way."""
        text = HEAD.format(
            folder=self._folder, ip=self._place[0], port=self._place[1], hops=100 + number % 7,
            burst=100_000 + number % 3, level="warn" if number % 4 else "error",
        )  # fmt: skip
        text += PEER.format(*self.peer.endpoint)
        if number % 2:
            text += MORE.format(number, number) + POLICY.format(number)
        left_out = WRITTEN_TO + number % (DOMAINS - WRITTEN_TO)
        for one in range(DOMAINS):
            if one != left_out:
                tenant = one % TENANTS if one % 50 else f"of-{number}"
                text += DOMAIN.format(one, tenant)
        if number % 10 == 9:
            text += "[links]\n"  # stands twice: no TOML
        self.file.write_text(text)

    def reload(self, number: int) -> ReloadView:
        """Write the next file and have it read, while messages are on their way."""
        self.write(number)
        self.load()
        view = self.console.config_reload(dry_run=False)
        self.load()
        back = self.console.send(f"alice@{self._names[0]}", "bob@b.example", "back")
        assert back["status"] == "success", back
        expected = "refused" if number % 10 == 9 else "applied"
        assert view["result"] == expected, view
        assert view["links"] == []
        self.reloads[expected] = self.reloads.get(expected, 0) + 1
        return view

    def certify(self, number: int) -> None:
        """A new certificate for one of the domains, of which there are `WRITTEN_TO`."""
        name = self._names[number % WRITTEN_TO]
        made = self._issue(name)
        made.write(self._folder / "certificates", name)
        self._written[name] = made.certificate.public_bytes(Encoding.DER)

    def _issue(self, name: str) -> Issued:
        now = time.time()
        return self._authority.issue(name, not_before=now - DAY, not_after=now + 30 * DAY)

    def reload_certificates(self, number: int) -> None:
        """Renew one, or leave a key of another beside it; and have the folder read, under load."""
        bad = number % 10 == 9
        if not bad:
            self.certify(number)
        wrong = self._folder / "certificates" / "wrong.crt"
        if bad:
            wrong.write_text("no certificate")
        self.load()
        answer = self.console.certs_reload()
        self.load()
        wrong.unlink(missing_ok=True)
        assert answer["result"] == ("refused" if bad else "swapped"), answer
        assert answer["count"] == WRITTEN_TO
        if not bad:
            self._shown.update(self._written)
        self.shake_hands(number)
        self.certificates[answer["result"]] = self.certificates.get(answer["result"], 0) + 1

    def shake_hands(self, number: int) -> None:
        """As a peer that asks for one of the domains; the newest certificate that is good must be shown."""
        name = self._names[number % WRITTEN_TO]
        trust = ssl.create_default_context(cadata=self._authority.issued.chain_pem.decode())
        with (
            socket.create_connection(self._place, timeout=30) as clear,
            trust.wrap_socket(clear, server_hostname=name) as link,
        ):
            shown = link.getpeercert(binary_form=True)
            assert shown == self._shown[name]
            self.handshakes += 1

    def load(self) -> None:
        """Judge what was answered, and send until enough is under way."""
        waiting = [one for one in self._under_way if not one.outcomes]
        for one in self._under_way:
            if one.outcomes:
                self.sent += 1
                assert one.outcomes[0].ok, one.outcomes
        self._under_way = waiting
        for _ in range(UNDER_WAY - len(waiting)):
            self._under_way.append(self.peer.send("alice@b.example", f"alice@{next(self._turn)}"))

    def settle(self) -> None:
        """Wait for every answer."""
        for one in self._under_way:
            assert one.outcome().ok, one.outcomes
        self.sent += len(self._under_way)
        self._under_way = []

    def link_numbers(self) -> list[int]:
        """Links of the process, of which none may end or be made."""
        return sorted(one["link"] for one in self.console.links())

    def rss_kib(self) -> int:
        """Memory of the process."""
        status = Path(f"/proc/{self._process.pid}/status").read_text()
        return int(status.partition("VmRSS:")[2].split()[0])

    def end(self) -> None:
        """Stop the process."""
        self._process.terminate()
        try:
            self._process.wait(30)
        except subprocess.TimeoutExpired:
            os.kill(self._process.pid, 9)
            self._process.wait()


def rounds(scene: Scene, reload: Callable[[int], object], count: int, each: int, what: str) -> Iterator[int]:
    """Reload so often; yields the memory of the process, KiB, after each so many reloads."""
    for number in range(1, count + 1):
        reload(number)
        if number % each == 0:
            assert scene.link_numbers() == scene.links
            rss = scene.rss_kib()
            sys.stdout.write(f"{number:5} reloads of {what}, {scene.sent:7} messages, {rss} KiB\n")
            sys.stdout.flush()
            yield rss
