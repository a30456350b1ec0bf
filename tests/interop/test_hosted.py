"""The page on hosted customers, carried out as written: a router process, imxctl, real DNS."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest

from tests.doubles.authority import DAY, Authority
from tests.doubles.router_rig import free_port, fresh_address
from tests.interop.netlab import Program, run, wait_until
from tests.interop.signed import HEAD, Signed, contents, keys

pytestmark = pytest.mark.interop

HOST = "r1.hoster.example"
PORT = 6490
BIN = Path(sys.executable).parent
CONFIG = """
name = "{host}"
role = "aggregator"
state_dir = "{folder}/state"
run_dir = "{folder}"
listen.addresses = ["{ip}:{port}"]
metrics.listen = ""
dns.nameservers = ["{resolver}"]
dial.allow_networks = ["127.0.0.0/8"]
overload.lag_ms = 0
tls.certificates = "{folder}/certificates"
tls.trust = ["{folder}/ca.pem"]

[[service]]
name = "home"
kind = "embedded"
users = ["alice"]

[[domain]]
name = "hoster.example"
service = "home"
"""


class Hoster:
    """A router process with its zones.

    Attributes:
        zones: as they are published now.
        bodies: what they hold, by their first label.
    """

    def __init__(self, folder: Path, zones: Signed) -> None:
        self.zones, self.folder = zones, folder
        self.ip, self._port = fresh_address(), free_port("127.0.0.1")
        began = time.time() - DAY
        self._dates: dict[str, Any] = {"not_before": began, "not_after": began + 60 * DAY}
        self.authority = Authority.root(**self._dates)
        self.bodies = {"customer": "", "hoster": f"r1 IN A {self.ip}\n"}
        (folder / "ca.pem").write_bytes(self.authority.issued.chain_pem)
        self.show(self.authority)
        self.publish(signed=False)

    def show(self, authority: Authority) -> None:
        """Put a new certificate with a new key into the folder."""
        authority.issue(HOST, **self._dates).write(self.folder / "certificates", "r1")

    def publish(self, *, signed: bool = True) -> None:
        """Let the owners put their zones into DNS; the customer's is signed or not. Nothing old is kept."""
        text = {f"{label}.example": HEAD + body for label, body in self.bodies.items()}
        serve = self.zones.sign if signed else self.zones.serve
        self.zones.ports["customer.example"] = serve({"customer.example": text["customer.example"]})
        self.zones.ports["hoster.example"] = self.zones.sign({"hoster.example": text["hoster.example"]})
        parent = self.zones.parent({} if signed else {"customer": ""})
        self.zones.ports["example"] = port = self.zones.sign({"example": parent})
        self.zones.anchor = keys(port, "example")
        self.resolver = self.zones.resolver(port=self._port)

    def start(self) -> Program:
        """Start the router and wait until it answers."""
        config = self.folder / "imxrouter.toml"
        config.write_text(
            CONFIG.format(host=HOST, folder=self.folder, ip=self.ip, port=PORT, resolver=self.resolver)
        )
        command = [str(BIN / "twistd"), "-n", "--pidfile=", "imxrouter", "--config", str(config)]
        started = Program("router", command, self.folder / "log")
        started.until(lambda: "counters" in self.imxctl("status"), "answers")
        return started

    def says(self, *arguments: str) -> str:
        """What imxctl prints for a person."""
        command = [str(BIN / "imxctl"), "--socket", str(self.folder / "admin.sock"), *arguments]
        done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
        return done.stdout + done.stderr

    def imxctl(self, *arguments: str) -> Mapping[str, Any]:
        """What imxctl prints as JSON."""
        try:
            value = json.loads(self.says("--json", *arguments))
        except ValueError:
            return {}
        return value if isinstance(value, dict) else {"value": value}

    def finding(self) -> tuple[str, str, str]:
        """Severity, reason and sentence of the doctor's finding about the certificate."""
        findings = self.imxctl("domains", "doctor", "customer.example")["findings"]
        found = [one for one in findings if one["stage"] in ("identity", "dns")]
        first = next((one for one in found if one["stage"] == "identity"), found[0])
        return first["severity"], first["reason"], first["what"]

    def check(self) -> str:
        """What `imxctl check` prints, in TLS, trusting whom the router trusts."""
        trust = str(self.folder / "ca.pem")
        return self.says(
            "check", "customer.example", "--lab", "--nameserver", self.resolver, "--tls", "--trust", trust
        )

    def tlsa(self) -> str:
        """The TLSA line that is to be published."""
        (line,) = self.imxctl("dns", "records", "hoster.example")["tlsa"]
        return f"{line}\n"


@pytest.fixture
def hoster(tmp_path: Path) -> Iterator[Hoster]:
    """A hoster whose router runs; the customer's zone is empty and not signed."""
    with Signed(tmp_path, contents(f"3 1 1 {'ab' * 32}")) as zones:
        folder = tmp_path / "router"
        folder.mkdir()
        made = Hoster(folder, zones)
        router = made.start()
        try:
            yield made
        finally:
            router.ask_to_end()
            router.ended()


def test_a_customer_is_on_boarded_by_delegation_and_dane(hoster: Hoster) -> None:
    """Each step of the page, and what it says is seen."""
    hoster.says("domains", "add", "customer.example", "--service", "home")
    assert hoster.finding()[1] == "no-imx-record"

    # what the doctor prints is pasted into the zone, which is not signed yet
    publish = hoster.imxctl("domains", "doctor", "customer.example")["publish"]
    assert (
        "; Peers that ask for certificates need either a certificate that names customer.example" in publish
    )
    hoster.bodies["customer"] = publish
    hoster.publish(signed=False)
    severity, reason, what = hoster.finding()
    assert (severity, reason) == ("warning", "delegation-insecure")
    assert "customer.example IMX" in what
    assert "delegation-insecure at stage identity" in hoster.check()

    # the customer signs, and its parent holds the DS record
    hoster.publish()
    assert hoster.finding()[::2] == (
        "good",
        f"the certificate at {HOST}:{PORT} counts for customer.example, by delegation",
    )
    check = hoster.check()
    assert "dnssec=yes" in check
    assert "by=delegation" in check
    assert check.endswith("customer.example: good\n")

    # TLSA as printed
    hoster.bodies["hoster"] += hoster.tlsa()
    hoster.publish()
    assert hoster.finding()[2].endswith("by DANE-EE")
    assert "by=DANE-EE" in hoster.check()


def test_a_key_is_rolled_as_written(hoster: Hoster) -> None:
    """The new record beside the old one, as openssl computes it; an unannounced key is an error."""
    hoster.says("domains", "add", "customer.example", "--service", "home")
    hoster.bodies["customer"] = hoster.imxctl("domains", "doctor", "customer.example")["publish"]
    hoster.bodies["hoster"] += hoster.tlsa()
    hoster.publish()
    assert hoster.finding()[2].endswith("by DANE-EE")

    hoster.show(Authority.root("Unknown"))
    pipeline = "openssl x509 -in {} -noout -pubkey | openssl pkey -pubin -outform DER | sha256sum"
    digest = run("sh", "-c", pipeline.format(hoster.folder / "certificates" / "r1.crt")).stdout.split()[0]
    assert digest not in hoster.bodies["hoster"]
    hoster.says("certs", "reload")
    wait_until(lambda: digest in hoster.tlsa(), "the new certificate is in use")
    severity, reason, _ = hoster.finding()
    assert (severity, reason) == ("error", "dane-mismatch")
    assert "dane-mismatch at stage identity" in hoster.check()

    hoster.bodies["hoster"] += f"_{PORT}._tcp.{HOST}. 3600 IN TLSA 3 1 1 {digest}\n"
    hoster.publish()
    severity, _, what = hoster.finding()
    assert (severity, what.endswith("by DANE-EE")) == ("good", True)


def test_a_broken_chain_is_told_as_such(hoster: Hoster) -> None:
    """Not as an unsigned zone."""
    hoster.says("domains", "add", "customer.example", "--service", "home")
    hoster.bodies["customer"] = hoster.imxctl("domains", "doctor", "customer.example")["publish"]
    hoster.publish()
    hoster.zones.resolver(
        {"customer.example": hoster.zones.serve({"customer.example": HEAD + hoster.bodies["customer"]})},
        port=int(hoster.resolver.partition(":")[2]),
    )
    assert hoster.finding()[1] == "dns-failure"
