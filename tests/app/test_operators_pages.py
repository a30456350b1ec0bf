"""Pages for operators, carried out: their commands run in order, their tables are the configuration.

docs/operators/access.md has a test of its own; docs/operators/hosted.md is done with a signed zone in
tests/interop/test_hosted.py. What a page says of exit codes and of what is printed must hold.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
from click.testing import CliRunner

from imxrouter.app.operators.limitview import limits_view
from imxrouter.cli.exits import Exit
from imxrouter.cli.main import imxctl
from imxrouter.model.vocabulary import Reason
from tests.doubles.ctl import ctl, ctl_json
from tests.doubles.pages import OPERATORS, Command, blocks, commands, tables
from tests.doubles.reload_rig import Reloadable
from tests.doubles.router_rig import Lab, RouterRig


def table_with(page: str, text: str) -> str:
    """The one table of a page that has a text."""
    (found,) = [one for one in tables(page) if text in one]
    return found + "\n"


def starting(page: str, *beginnings: str) -> list[Command]:
    """The commands of a page that begin so, in the page's order."""
    found = [one for one in commands(page) if one.line.startswith(tuple(f"imxctl {b}" for b in beginnings))]
    assert found, page
    return found


def test_installing(lab: Lab) -> None:
    """Steps 3, 5 and 6: what is looked at after the start, the records, and the first peer."""
    a, b = lab.router("a.example"), lab.router("partner.example", users=("somebody",))
    Reloadable(a).edit(also=table_with("install.md", "partner.example"))
    told = {}
    for command in starting("install.md", "status", "dns", "config reload", "send", "peers", "links"):
        told[command.words[0]] = command.on(a)
    assert "running, ready" in told["status"]
    assert "delivered to partner.example" in told["send"]
    assert "proved" in told["links"]
    assert b.inbox("somebody@partner.example") == [("alice@a.example", "Hello")]


def test_identity(lab: Lab) -> None:
    """A peer is looked at, falls and is forgotten, and is raised again."""
    ours = lab.router("ours.example", settings={"trust.default_policy": "dialback"})
    lab.router("partner.example")
    file = Reloadable(ours).edit(also=table_with("identity.md", "*.partners.example"))
    file.reload()
    assert ours.send("alice@ours.example", "bob@partner.example").outcome().ok
    told = [(one, one.on(ours)) for one in commands("identity.md") if one.words[0] in ("peers", "links")]
    assert [one.words[:2] for one, _ in told] == [("peers", "show"), ("links",), ("peers", "forget")]
    shown = told[0][1]
    assert re.search(r'must prove +dialback by \[trust\] default_policy = "dialback"', shown)
    assert re.search(r"was seen at +dialback until 20", shown)
    assert "partner.example: cleared: dialback" in told[2][1]
    file.edit(also='[[trust.peer]]\ndomain = "partner.example"\npolicy = "dialback+certificate"\n')
    dry, applied = (one.on(ours) for one in starting("identity.md", "config reload"))
    assert "the proof of partner.example ends: weaker than its policy" in dry
    assert "a reload would apply 1 change(s)" in dry
    assert "applied: 1 change(s)" in applied
    assert (
        ours.send("alice@ours.example", "bob@partner.example").outcome().reason is Reason.WEAKER_THAN_POLICY
    )


def test_configuring(lab: Lab) -> None:
    """The aggregator: a file in domains.d, then domains at run time, then attributes of a peer."""
    a = lab.router("a.example")
    lab.router("partner.example")
    (file,) = [one for one in blocks("configure.md") if "domains.d/red.example.toml" in one]
    Reloadable(a)
    folder = a.file.parent / "domains.d"
    folder.mkdir()
    (folder / "red.example.toml").write_text(file.replace('service = "homes"', 'service = "home"'))
    places = {"/etc/imxrouter/imxrouter.toml": str(a.file)}
    wanted = starting("configure.md", "config check", "domains", "attributes")
    assert len(wanted) == 9
    assert "2 domains in 2 file(s)" in wanted[0].on(a, places)
    assert ctl(a, "config", "reload").exit_code == Exit.OK
    told = [one.on(a, {"homes": "home"}) for one in wanted[1:]]
    assert "red.example" in told[0]
    assert "max-message-size" in told[-1]
    assert {one["name"] for one in ctl_json(a, "domains")} == {"a.example", "new.example"}


def test_the_gateway_of_the_page_is_whole(tmp_path: Path) -> None:
    """`This is a whole configuration`."""
    (whole,) = [one for one in blocks("configure.md") if one.startswith("name = ")]
    file = tmp_path / "imxrouter.toml"
    file.write_text(whole)
    done = CliRunner().invoke(imxctl, ["config", "check", str(file)])
    assert done.exit_code == Exit.OK, done.output
    assert "good; 1 domain" in done.output


def test_reloading(lab: Lab) -> None:
    """A dry run, the reload, and each exit code of the page's table that one router can have."""
    a = lab.router("a.example")
    file = Reloadable(a).edit(("links.ping_s = 1.0", "links.ping_s = 1.5"))
    dry, applied = (one.on(a) for one in starting("reload.md", "config reload"))
    assert "~ links.ping_s: 1.0 -> 1.5  (to new links)" in dry
    assert "a reload would apply" in dry
    assert "applied: 1 change(s)" in applied
    codes = dict(re.findall(r"^\| (\d) \| (.+) \|$", (OPERATORS / "reload.md").read_text(), re.MULTILINE))
    assert set(codes) == {"0", "1", "3", "4"}
    assert ctl(a, "config", "reload").exit_code == 0
    file.edit(also="nonsense")
    refused = ctl(a, "config", "reload")
    assert refused.exit_code == 3
    assert "nothing was changed" in refused.output
    assert ctl(a, "--socket", str(a.file.parent / "none.sock"), "config", "reload").exit_code == 4


def test_what_waits_for_a_restart_is_named(lab: Lab) -> None:
    """Listeners, TLS on them, the folder of certificates, processes: each by its key."""
    a = lab.router("a.example")
    more = 'workers = 2\nlisten.tls = "only"\ntls.certificates = "c"\n'
    addresses = f'listen.addresses = ["{a.endpoint[0]}:{a.endpoint[1]}"]'
    Reloadable(a).edit((addresses, 'listen.addresses = ["127.0.0.1:6490"]'), before=more)
    told = ctl(a, "config", "reload", "--dry-run").output
    for key in ("workers", "listen.tls", "listen.addresses", "tls.certificates"):
        assert re.search(rf"^~ {re.escape(key)}: .* -> .*  \(at a restart\)$", told, re.MULTILINE), told
    assert "4 wait for a restart" in told


def test_quality(lab: Lab) -> None:
    """The page's table of objectives, and its reports."""
    a, b = lab.router("a.example"), lab.router("b.example")
    file = Reloadable(a).edit(also=table_with("quality.md", "[qos]"))
    file.reload()
    assert a.send("alice@a.example", "bob@b.example").outcome().ok
    assert not a.send("alice@a.example", "nobody@b.example").outcome().ok
    assert b.send("bob@b.example", "alice@a.example").outcome().ok
    told = [one.on(a) for one in starting("quality.md", "peers")]
    assert len(told) == 4
    (sample,) = [one for one in blocks("quality.md") if one.startswith("Report on b.example")]
    heads = {line.partition(":")[0].split("  ")[0] for line in sample.splitlines() if line and line[0] != " "}
    heads -= {"outages", "not delivered, by stage and reason", "please look at, on the side of b.example"}
    for head in heads:
        assert head in told[0], head
    ours, theirs = r"share of router\.a\.example: mean [\d.]+ ms", r"share of b\.example: mean [\d.]+ ms"
    assert re.search(f"{ours}.*\n.*{theirs}", told[0])
    assert re.search(f"{ours}.*\n.*share of services behind router", told[0])
    assert "availability, at least 99.9 %" in told[0]
    assert "out message,ours_p99_s," in told[2]
    assert "out message,theirs_p99_s," in told[2]


@pytest.fixture
def certified(lab: Lab, tmp_path: Path) -> RouterRig:
    """A router that reads the folder of the page, and does not watch it."""
    (tmp_path / "certificates").mkdir()
    settings = {"tls.certificates": str(tmp_path / "certificates"), "tls.watch_s": 0, "lab": True}
    return lab.router("a.example", settings=settings)


def _here(text: str, folder: Path) -> str:
    """Lines of a page with the places of a test, where no group has the router's name."""
    return text.replace("/etc/imxrouter/", f"{folder}/").replace(" -g imxrouter", "")


def _shell(rig: RouterRig, folder: Path, text: str) -> str:
    """Carry out lines of a page as a shell does."""
    tools = folder / "tools"
    tools.mkdir(exist_ok=True)
    ctl_line = f'{sys.executable} -m imxrouter.cli.main --socket {rig.router.config.admin_socket} "$@"'
    for name, line in (("sudo", 'env "$@"'), ("imxctl", ctl_line)):
        (tools / name).write_text(f"#!/bin/sh\nexec {line}\n")
        (tools / name).chmod(0o755)
    done = subprocess.run(
        ["/bin/sh", "-euc", _here(text, folder)],
        cwd=folder, env={**os.environ, "PATH": f"{tools}:{os.environ['PATH']}"},
        capture_output=True, text=True, check=False, timeout=60,
    )  # fmt: skip
    assert done.returncode == 0, f"{text}\n{done.stdout}{done.stderr}"
    return done.stdout + done.stderr


def test_certificates(certified: RouterRig, tmp_path: Path) -> None:
    """The private authority, the folder, renewing, a fault, an ACME client's hook, and taking one out."""
    found = blocks("certificates.md")
    (authority,) = [one for one in found if "Trial Authority" in one]
    (put,) = [one for one in found if one.startswith("sudo install -d")]
    (renew,) = [one for one in found if one.startswith("sudo install -m")]
    (hook,) = [one for one in found if one.startswith("#!/bin/sh")]
    _shell(certified, tmp_path, authority)
    _shell(certified, tmp_path, put)
    assert "added" in ctl(certified, "certs", "reload").output
    (shown, *_) = starting("certificates.md", "certs")
    assert "Trial Authority" in shown.on(certified)
    assert "peers who trust whom we trust will refuse it" in shown.on(certified)
    _shell(certified, tmp_path, authority)
    assert renew.endswith("\nsudo imxctl certs reload")
    _shell(certified, tmp_path, renew.partition("\n")[0])
    assert "renewed" in ctl(certified, "certs", "reload").output
    key = tmp_path / "certificates" / "a.example.key"
    good = key.read_bytes()
    _shell(certified, tmp_path, f"openssl ecparam -name prime256v1 -genkey -noout -out {key}")
    told = ctl(certified, "certs", "reload")
    assert told.exit_code == Exit.FAILED
    assert "the key does not belong to a.example.crt" in told.output
    assert "nothing is taken" in told.output
    key.write_bytes(good)
    live = tmp_path / "live" / "a.example"
    live.mkdir(parents=True)
    (live / "privkey.pem").write_bytes(good)
    (live / "fullchain.pem").write_bytes(
        (tmp_path / "a.example.crt").read_bytes() + (tmp_path / "authority.crt").read_bytes()
    )
    (tmp_path / "deploy").write_text(_here(hook, tmp_path))
    (tmp_path / "deploy").chmod(0o755)
    assert "swapped: 2 certificates" in _shell(certified, tmp_path, f"RENEWED_LINEAGE={live} ./deploy")
    for name in ("a.example.crt", "a.example.key"):
        (tmp_path / "certificates" / name).unlink()
    assert "removed" in ctl(certified, "certs", "reload").output
    assert "fullchain.pem" in shown.on(certified)


def test_limits(lab: Lab) -> None:
    """`imxctl limits`, and of each of the page its own; the page has every limit, and no other."""
    a = lab.router("a.example")
    listed = ctl(a, "limits").output
    rows = re.findall(r"^\| `([a-z-]+)` \|", (OPERATORS / "limits.md").read_text(), re.MULTILINE)
    names = [one["name"] for one in a.call(lambda: limits_view(a.router))]
    assert rows[: len(names)] == names
    for name in names:
        assert name in listed
        assert ctl(a, "limits", name).output.startswith("limit ")
