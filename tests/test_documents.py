"""What the documents and samples for operators say is true: links, commands, keys, units, zones."""

from __future__ import annotations

import configparser
import re
import tomllib
from collections.abc import Iterator
from pathlib import Path

import click
import pytest

from imxrouter.app.draining import EXTRA_S
from imxrouter.app.traffic.steps import Step
from imxrouter.cli.main import imxctl
from imxrouter.config.load import Document, parse
from imxrouter.config.problems import ConfigError
from imxrouter.discovery.records import Target, zone_text
from imxrouter.model.domain import Domain
from imxrouter.telemetry.logs import FIELDS

ROOT = Path(__file__).resolve().parent.parent
PAGES = sorted(
    [ROOT / "README.md", ROOT / "CHANGELOG.md", *ROOT.glob("docs/**/*.md"), *ROOT.glob("ops/**/*.md")]
)
GUIDES = sorted([ROOT / "README.md", *ROOT.glob("docs/operators/*.md")])


def anchors(page: Path) -> set[str]:
    """The headings of a page as links name them."""
    headings = re.findall(r"^#+ (.*)$", page.read_text(), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_links_lead_somewhere(page: Path) -> None:
    """Each file that a page links to exists, and so does the heading in it."""
    for target, anchor in re.findall(r"\]\(([^)#]*)(?:#([^)]*))?\)", page.read_text()):
        if target.startswith("http"):
            continue
        file = (page.parent / target).resolve() if target else page
        assert file.exists(), target
        if anchor and file.suffix == ".md":
            assert anchor in anchors(file), f"{target}#{anchor}"


@pytest.mark.parametrize("page", GUIDES, ids=lambda page: str(page.relative_to(ROOT)))
def test_commands_exist(page: Path) -> None:
    """Each `imxctl` command that a guide names is one."""
    for words in re.findall(r"(?:imxctl|\$gateway|\$hoster) ((?:[a-z]+ ?)+)", page.read_text()):
        command: click.Command = imxctl
        for word in words.split():
            if not isinstance(command, click.Group):
                break
            found = command.get_command(click.Context(command), word)
            assert found is not None or command is not imxctl, f"imxctl {words}"
            if found is None:
                break
            command = found


def toml_blocks(page: Path) -> Iterator[str]:
    """Indented blocks of a page that hold tables of a configuration."""
    for block in re.findall(r"((?:^ {4,}.*\n|^\n)+)", page.read_text(), re.MULTILINE):
        lines = [line[4:] for line in block.splitlines()]
        indent = min((len(line) - len(line.lstrip()) for line in lines if line.strip()), default=0)
        text = "\n".join(line[indent:] for line in lines)
        if re.search(r"^\[", text, re.MULTILINE):
            start = re.search(r"^(\[|\w+ = |# /etc)", text, re.MULTILINE)
            assert start is not None
            yield text[start.start() :]


def test_configurations_in_the_guides_are_good() -> None:
    """Each table shown has keys and values that exist."""
    count = 0
    for page in GUIDES:
        for text in toml_blocks(page):
            tomllib.loads(text)
            count += 1
            try:
                parse(Document(page.name, text))
            except ConfigError as error:
                wrong = [
                    str(one)
                    for one in error.problems
                    if "missing" not in one.what and "service" not in one.path
                ]
                assert wrong == [] or all("key_file" in one for one in wrong), wrong
    assert count >= 5


def test_the_guide_to_monitoring_names_what_there_is() -> None:
    """Each metric exists; steps and fields of log lines are complete."""
    text = (ROOT / "docs/operators/monitor.md").read_text()
    rules = (ROOT / "ops/prometheus/imxrouter.rules.yml").read_text()
    known = set(re.findall(r"`(imxrouter_\w+)`", (ROOT / "docs/reference/metrics.md").read_text()))
    named = set(re.findall(r"\b(imxrouter_\w+?)(?:_bucket|_sum|_count)?\b", text + rules))
    assert named - known == set()
    for word in (*(step.value for step in Step), *FIELDS):
        assert f"`{word}`" in text, word


def test_the_unit_runs_the_plugin_with_few_rights() -> None:
    """It starts what we ship, waits for READY, outlasts the drain, and writes to two directories only."""
    unit = configparser.RawConfigParser(strict=False)
    unit.optionxform = str  # type: ignore[assignment,method-assign]
    unit.read(ROOT / "ops/systemd/imxrouter.service")
    service = dict(unit["Service"])
    assert service["Type"] == "notify"
    assert "twistd -n --pidfile= imxrouter --config " in service["ExecStart"]
    assert int(service["TimeoutStopSec"]) > parse(Document("x", MINIMAL)).config.drain.deadline_s + EXTRA_S
    assert service["KillMode"] == "mixed"
    assert (service["NoNewPrivileges"], service["ProtectSystem"], service["CapabilityBoundingSet"]) == (
        "yes", "strict", "",
    )  # fmt: skip
    assert service["User"] == service["StateDirectory"] == service["RuntimeDirectory"] == "imxrouter"


MINIMAL = """
name = "im1.a.example"
[[service]]
name = "home"
kind = "embedded"
users = ["alice"]
[[domain]]
name = "a.example"
service = "home"
"""


def test_the_sample_zone_is_what_we_print() -> None:
    """Its last part is what `imxctl dns records` gives for two routers."""
    zone = (ROOT / "ops/zones/a.example.zone").read_text()
    targets = (Target("im1.a.example", 6490), Target("im2.a.example", 6490))
    assert zone.endswith(zone_text(Domain("a.example"), targets))
