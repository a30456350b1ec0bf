"""Certificates of a running router: read, watched, exchanged as a whole, and told of."""

from __future__ import annotations

import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from twisted.internet.defer import Deferred, maybeDeferred
from twisted.internet.task import Clock
from twisted.logger import capturedLogs

from imxrouter.admin.certs_views import CertsReload
from imxrouter.app.trust.certificates import TICKET_KEYS_S, OwnCertificates
from imxrouter.cli.exits import Exit
from imxrouter.config.load import Document, parse
from imxrouter.config.problems import ConfigError
from imxrouter.config.schema import Config
from imxrouter.model.domain import Domain
from imxrouter.telemetry.metrics import Metrics
from imxrouter.tls.anchors import BadAnchors, anchors_from, system_bundle
from imxrouter.tls.contexts import TlsContexts
from imxrouter.tls.peer import PeerCertificate
from tests.doubles.authority import DAY, NOW, Authority, Issued
from tests.doubles.ctl import ctl, ctl_json
from tests.doubles.router_rig import Lab, RouterRig

ROOT = Authority.root()
MIDDLE = ROOT.below()
#: For routers with the clock of this host.
LONG = {"not_before": 1_700_000_000.0, "not_after": 4_000_000_000.0}
LASTING = Authority.root("Lasting", **LONG)
A, B = Domain("a.example"), Domain("b.example")
DOMAINS = "".join(f'[[domain]]\nname = "{name}"\nservice = "home"\n' for name in ("a.example", "b.example"))
HOME = '[[service]]\nname = "home"\nkind = "embedded"\nusers = ["alice"]\n'


def config_of(folder: Path, more: str = "", domains: str = DOMAINS) -> Config:
    """A configuration whose certificates lie in `certificates/` beside it."""
    (folder / "certificates").mkdir(exist_ok=True)
    (folder / "root.pem").write_bytes(ROOT.issued.chain_pem)
    text = f'name = "router.a.example"\n[tls]\ncertificates = "certificates"\ntrust = ["root.pem"]\n{more}\n'
    return parse(Document(str(folder / "router.toml"), text + HOME + domains)).config


class Rig:
    """The certificates of a process with a clock of the test; files are read at once."""

    def __init__(self, folder: Path, more: str = "", domains: str = DOMAINS) -> None:
        self.folder = folder / "certificates"
        self.clock = Clock()
        self.now = NOW
        self.metrics = Metrics("1", lambda: self.now)
        self.config = config_of(folder, more, domains)
        self.begun = False
        self.between: Callable[[], object] = lambda: None

    def begin(self) -> OwnCertificates:
        """Start it."""
        self.own = OwnCertificates(
            self.config, self.clock, lambda: self.now, self.metrics, in_thread=self._at_once
        )
        self.own.begin()
        self.begun = True
        return self.own

    def _at_once(self, what: Callable[[], Any]) -> Deferred[Any]:
        return maybeDeferred(what)

    def reload(self) -> CertsReload:
        """Read the folder again."""
        found: list[CertsReload] = []
        self.own.reload().addCallback(found.append)
        return found[0]

    def shown(self) -> set[tuple[str, ...]]:
        """Names of the certificates in use."""
        return {one.names for one in self.own.contexts.certificates.all}

    def figure(self, line: str) -> float:
        """One line of /metrics."""
        text = self.metrics.exposition().decode()
        (found,) = [row for row in text.splitlines() if row.startswith(line + " ")]
        return float(found.rsplit(" ", 1)[1])


@pytest.fixture
def rig(tmp_path: Path) -> Rig:
    """One with a certificate for a.example."""
    made = Rig(tmp_path)
    MIDDLE.issue("a.example").write(made.folder, "a.example")
    return made


def test_the_start_takes_what_is_good(rig: Rig) -> None:
    """A fault of one keeps no other from service; it is told all the same, and counted."""
    (rig.folder / "bad.crt").write_bytes(b"")
    own = rig.begin()
    assert rig.shown() == {("a.example",)}
    assert len(own.problems) == 1
    assert own.contexts.offers_tls
    assert rig.figure("imxrouter_certificate_problems") == 1
    view = own.view([A, B])
    assert view["without"] == ["b.example"]
    assert view["without_count"] == 1
    assert "bad.crt" in view["problems"][0]
    assert [(one["names"], one["domains"]) for one in view["certificates"]] == [
        (["a.example"], ["a.example"])
    ]


def test_what_had_ended_at_the_start_hinders_no_renewal(rig: Rig) -> None:
    """It is in use, for want of a better one, with a warning."""
    MIDDLE.issue("old.example", not_after=NOW - DAY / 2).write(rig.folder, "old.example")
    own = rig.begin()
    assert own.problems == ()
    assert "ended" in own.warnings[0]
    MIDDLE.issue("b.example").write(rig.folder, "b.example")
    assert rig.reload()["result"] == "swapped"


def test_without_a_folder_nothing_is_offered(tmp_path: Path) -> None:
    """And a reload says so."""
    rig = Rig(tmp_path, more="", domains=DOMAINS)
    text = Document(str(tmp_path / "x.toml"), 'name = "router.a.example"\n' + HOME + DOMAINS)
    rig.config = parse(text).config
    own = rig.begin()
    assert not own.contexts.offers_tls
    assert rig.reload()["result"] == "unchanged"
    assert not own._watch.running
    assert own.view([A])["folder"] == ""


def test_a_reload_takes_all_or_nothing(rig: Rig) -> None:
    """Added, renewed and removed are told; with one fault all stays, contexts and sessions too."""
    own = rig.begin()
    swapped: list[TlsContexts] = []
    own.on_swapped.append(swapped.append)
    first = own.contexts
    first.client(A)
    assert rig.reload()["result"] == "unchanged"
    assert first._clients
    assert own.contexts is first
    b = MIDDLE.issue("b.example").write(rig.folder, "b.example")
    a = MIDDLE.issue("a.example").write(rig.folder, "a.example")
    told = rig.reload()
    assert (told["result"], told["added"], told["renewed"], told["count"]) == (
        "swapped",
        [str(b)],
        [str(a)],
        2,
    )
    assert swapped == [own.contexts]
    assert not first._clients  # retired
    assert own.contexts is not first
    (rig.folder / "b.example.key").write_bytes(MIDDLE.issue("b.example").key_pem)
    (rig.folder / "a.example.crt").unlink()
    kept = own.contexts
    told = rig.reload()
    assert (told["result"], told["count"]) == ("refused", 2)
    assert "does not belong" in told["problems"][0]
    assert own.contexts is kept
    assert rig.shown() == {("a.example",), ("b.example",)}
    for file in ("a.example.key", "b.example.crt", "b.example.key"):
        (rig.folder / file).unlink()
    told = rig.reload()
    assert (told["result"], told["removed"]) == ("swapped", [str(a), str(b)])
    assert not own.contexts.offers_tls
    for result, count in (("swapped", 2), ("unchanged", 1), ("refused", 1)):
        assert rig.figure(f'imxrouter_certificate_reloads_total{{result="{result}"}}') == count


def test_the_same_certificate_with_another_chain_is_a_renewal(rig: Rig) -> None:
    """An intermediate that was added reaches peers."""
    issued = MIDDLE.issue("a.example")
    issued.write(rig.folder, "a.example")
    rig.begin()
    Issued(issued.certificate, issued.key).write(rig.folder, "a.example")
    assert rig.reload()["renewed"] == [str(rig.folder / "a.example.crt")]


@pytest.mark.parametrize("by", ["reload", "watch"])
def test_a_file_that_goes_is_used_no_more(rig: Rig, by: str) -> None:
    """Also where another certificate has its names: its key may have been lost to somebody."""
    wide = MIDDLE.issue("a.example", "b.example").write(rig.folder, "wide")
    own = rig.begin()
    before = own.contexts
    assert rig.shown() == {("a.example",), ("a.example", "b.example")}
    for ending in ("crt", "key"):
        (rig.folder / f"a.example.{ending}").unlink()
    if by == "reload":
        told = rig.reload()
        assert (told["result"], told["removed"], told["renewed"]) == (
            "swapped", [str(rig.folder / "a.example.crt")], [],
        )  # fmt: skip
    else:
        rig.clock.advance(10)
        rig.clock.advance(10)
    assert rig.shown() == {("a.example", "b.example")}
    assert own.contexts is not before
    assert [one.path for one in own.contexts.certificates.all] == [wide]


def test_the_watch_takes_a_set_that_has_settled(rig: Rig) -> None:
    """Not while it is being written, and not before it stayed the same for one interval."""
    rig.begin()
    rig.clock.advance(10)
    rig.clock.advance(10)
    new = MIDDLE.issue("b.example")
    new.write(rig.folder, "b.example")
    rig.clock.advance(10)
    assert rig.shown() == {("a.example",)}  # seen for the first time
    rig.clock.advance(10)
    assert rig.shown() == {("a.example",), ("b.example",)}
    assert rig.figure('imxrouter_certificate_reloads_total{result="swapped"}') == 1


def test_a_half_written_set_is_not_taken(rig: Rig) -> None:
    """Each write begins the wait anew; one that stays half is refused once, and taken when it is whole."""
    rig.begin()
    new = MIDDLE.issue("b.example")
    path = rig.folder / "b.example.crt"
    for length in (10, 200, 400):
        path.write_bytes(new.chain_pem[:length])
        rig.clock.advance(10)
    assert rig.own.problems == ()
    for _ in range(3):
        rig.clock.advance(10)
    assert rig.figure('imxrouter_certificate_reloads_total{result="refused"}') == 1
    assert rig.shown() == {("a.example",)}
    new.write(rig.folder, "b.example")
    rig.clock.advance(10)
    rig.clock.advance(10)
    assert rig.shown() == {("a.example",), ("b.example",)}
    assert rig.own.problems == ()


def test_a_set_that_changes_while_it_is_read_is_not_taken(rig: Rig, monkeypatch: pytest.MonkeyPatch) -> None:
    """And is looked at again."""
    own = rig.begin()
    plain = own._state
    calls = iter(range(100))

    def state() -> Any:
        if next(calls) == 1:
            MIDDLE.issue("c.example").write(rig.folder, "c.example")
        return plain()

    MIDDLE.issue("b.example").write(rig.folder, "b.example")
    monkeypatch.setattr(own, "_state", state)
    told = rig.reload()
    assert told["result"] == "refused"
    assert "while it was read" in told["problems"][0]
    assert rig.shown() == {("a.example",)}
    rig.clock.advance(10)
    rig.clock.advance(10)
    assert len(rig.shown()) == 3


def test_a_folder_that_cannot_be_looked_at_does_not_end_the_watch(
    rig: Rig, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The next look comes."""
    own = rig.begin()

    def broken() -> Any:
        raise RuntimeError("broken")

    with monkeypatch.context() as patched:
        patched.setattr(own, "_state", broken)
        rig.clock.advance(10)
    MIDDLE.issue("b.example").write(rig.folder, "b.example")
    rig.clock.advance(10)
    rig.clock.advance(10)
    assert len(rig.shown()) == 2
    own.end()
    assert rig.clock.getDelayedCalls() == []


def test_watching_can_be_turned_off(tmp_path: Path) -> None:
    """`watch_s = 0`."""
    rig = Rig(tmp_path, more="watch_s = 0")
    assert not rig.begin()._watch.running


def test_the_keys_of_tickets_change(rig: Rig) -> None:
    """Once a day, with the certificates as they are."""
    own = rig.begin()
    before = own.contexts
    rig.clock.advance(TICKET_KEYS_S - 1)
    assert own.contexts is before
    rig.clock.advance(1)
    assert own.contexts is not before
    assert own.contexts.certificates is before.certificates


def test_a_warning_is_logged_once(rig: Rig) -> None:
    """However often the folder is read."""
    (rig.folder / "lonely.key").write_bytes(MIDDLE.issue("x.example").key_pem)
    rig.begin()
    (rig.folder / "second.key").write_bytes(MIDDLE.issue("x.example").key_pem)
    with capturedLogs() as logged:
        rig.reload()
        rig.reload()
    assert len(rig.own.warnings) == 2
    assert [event["what"].partition(":")[0] for event in logged] == [str(rig.folder / "second.key")]


def test_a_domain_may_name_its_file(tmp_path: Path) -> None:
    """In or outside of the folder; and the file is watched."""
    path = MIDDLE.issue("a.example", "b.example").write(tmp_path, "named")
    domains = DOMAINS.replace('name = "a.example"', f'name = "a.example"\ncertificate = "{path}"')
    rig = Rig(tmp_path, domains=domains)
    MIDDLE.issue("a.example").write(rig.folder, "a.example")
    own = rig.begin()
    one = own.contexts.certificates.for_domain(A)
    assert one is not None
    assert one.path == path
    MIDDLE.issue("a.example", "b.example", "c.example").write(tmp_path, "named")
    rig.clock.advance(10)
    rig.clock.advance(10)
    one = own.contexts.certificates.for_domain(A)
    assert one is not None
    assert len(one.names) == 3


def test_figures_of_expiry(rig: Rig) -> None:
    """The first to end, each by its file, and those of peers."""
    MIDDLE.issue("b.example", not_after=NOW + 5 * DAY).write(rig.folder / "b", "b")
    rig.begin()
    assert rig.figure("imxrouter_certificates") == 2
    assert rig.figure("imxrouter_certificate_first_expiry_timestamp_seconds") == NOW + 5 * DAY
    name = "imxrouter_certificate_expiry_timestamp_seconds"
    assert rig.figure(f'{name}{{file="b/b.crt"}}') == NOW + 5 * DAY
    assert rig.figure(f'{name}{{file="a.example.crt"}}') == NOW + 90 * DAY
    rig.metrics.peer_certificates.seen("p.example", NOW + DAY)
    peers = "imxrouter_peer_certificate_expiry_timestamp_seconds"
    assert rig.figure(f'{peers}{{peer="p.example"}}') == NOW + DAY


def test_a_bad_file_of_authorities_is_told_at_the_start(tmp_path: Path) -> None:
    """By its name, with what to do; nobody is trusted by mistake."""
    rig = Rig(tmp_path)
    for text, words in ((b"", "no certificate in it"), (None, "No such file")):
        path = tmp_path / "root.pem"
        if text is None:
            path.unlink()
        else:
            path.write_bytes(text)
        with pytest.raises(BadAnchors, match=words):
            rig.begin()


def test_trust_is_the_systems_or_that_of_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A file adds to the system's authorities; a broken one among those takes nobody else's trust."""
    own, system = tmp_path / "own.pem", tmp_path / "system.pem"
    public = Authority.root("Public")
    system.write_bytes(
        b"-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n" + public.issued.chain_pem
    )
    own.write_bytes(ROOT.issued.chain_pem)
    monkeypatch.setenv("SSL_CERT_FILE", str(system))
    assert system_bundle() == system

    def trusted(authority: Authority, *trust: str) -> bool:
        issued = authority.issue("a.example")
        peer = PeerCertificate(issued.certificate, issued.chain)
        return anchors_from(trust).judge(peer, at=NOW, as_client=True).problem is None

    assert trusted(public, "system")
    assert not trusted(ROOT, "system")
    assert trusted(ROOT, str(own))
    assert not trusted(public, str(own))
    assert trusted(ROOT, "system", str(own))
    assert trusted(public, "system", str(own))


BAD_TABLES = {
    "trust = []": "nobody is trusted",
    'trust = ["system", "system"]': "stands twice",
    'minimum = "1.1"': "is none of 1.2, 1.3",
    "watch_s = -1": "watch_s",
}


@pytest.mark.parametrize("line", BAD_TABLES)
def test_the_table_is_checked(line: str, tmp_path: Path) -> None:
    """With the path and the fault."""
    text = 'name = "router.a.example"\n[tls]\n' + line + "\n"
    with pytest.raises(ConfigError) as caught:
        parse(Document(str(tmp_path / "router.toml"), text + HOME + DOMAINS))
    assert BAD_TABLES[line] in str(caught.value)


def test_a_domains_file_needs_the_folder(tmp_path: Path) -> None:
    """Else no TLS is offered, and the file would say otherwise."""
    domains = DOMAINS.replace('name = "a.example"', 'name = "a.example"\ncertificate = "x.crt"')
    with pytest.raises(ConfigError, match=r"without \[tls\] certificates"):
        parse(Document(str(tmp_path / "router.toml"), 'name = "r.example"\n' + HOME + domains))


def test_paths_are_relative_to_the_file(tmp_path: Path) -> None:
    """Those of lists too, but for words."""
    text = 'name = "r.example"\n[tls]\ncertificates = "c"\ntrust = ["system", "x/y.pem"]\n'
    tls = parse(Document(str(tmp_path / "router.toml"), text + HOME + DOMAINS)).config.tls
    assert tls.certificates == str(tmp_path / "c")
    assert tls.trust == ("system", str(tmp_path / "x/y.pem"))


@pytest.fixture
def router(lab: Lab, tmp_path: Path) -> RouterRig:
    """A whole router with a certificate, whose folder is not watched."""
    LASTING.issue("a.example", **LONG).write(tmp_path / "c", "a")
    (tmp_path / "root.pem").write_bytes(LASTING.issued.chain_pem)
    return lab.router(
        "a.example",
        settings={
            "tls.certificates": str(tmp_path / "c"),
            "tls.watch_s": 0,
            "tls.trust": [str(tmp_path / "root.pem")],
        },
    )


def test_imxctl_lists_and_reloads(router: RouterRig, tmp_path: Path) -> None:
    """Through the socket of the router, and the thread that reads files."""
    view = ctl_json(router, "certs")
    assert [one["names"] for one in view["certificates"]] == [["a.example"]]
    assert view["default"] == str(tmp_path / "c" / "a.crt")
    assert ctl_json(router, "certs", "reload")["result"] == "unchanged"
    LASTING.issue("b.example", **LONG).write(tmp_path / "c", "b")
    told = ctl(router, "certs", "reload")
    assert told.exit_code == Exit.OK
    assert f"added  {tmp_path / 'c' / 'b.crt'}" in told.output
    (tmp_path / "c" / "b.key").write_bytes(b"")
    told = ctl(router, "certs", "reload")
    assert told.exit_code == Exit.FAILED
    assert "no private key in it" in told.output
    assert "no private key in it" in ctl(router, "certs").output


def test_files_are_read_outside_the_reactor(router: RouterRig, monkeypatch: pytest.MonkeyPatch) -> None:
    """However many there are, links go on meanwhile."""
    threads: list[int] = []
    own = router.router.certificates
    plain = own._read

    def read() -> Any:
        threads.append(threading.get_ident())
        return plain()

    monkeypatch.setattr(own, "_read", read)
    assert ctl_json(router, "certs", "reload")["result"] == "unchanged"
    assert threads != [router.call(threading.get_ident)]


def test_the_end_of_peers_certificates_is_told(lab: Lab) -> None:
    """Of each domain whose certificate was found good, on both sides of a link."""
    settings = {"trust.default_policy": "dialback+certificate"}
    a = lab.router("a.example", settings=settings, certificates=[["a.example"]])
    b = lab.router("b.example", settings=settings, certificates=[["b.example"]])
    assert a.send("alice@a.example", "bob@b.example").outcome().ok
    for rig, other, domain in ((a, b, "b.example"), (b, a, "a.example")):
        seen = rig.call(rig.router.metrics.peer_certificates.ends)
        assert other.router.link_tls.ends is not None
        (own,) = other.router.link_tls.ends.contexts.certificates.all
        assert seen == {domain: own.leaf.not_valid_after_utc.timestamp()}
