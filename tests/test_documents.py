"""What the documents and samples for operators say is true: links, commands, keys, units, zones."""

from __future__ import annotations

import configparser
import re
import shlex
import textwrap
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
from tests.doubles.pages import commands

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


@pytest.mark.parametrize("page", GUIDES, ids=lambda page: str(page.relative_to(ROOT)))
def test_lines_with_commands_can_be_typed(page: Path) -> None:
    """Each line that begins with `imxctl` is a command with the arguments and options that it takes."""
    for line in (one.line for one in commands(str(page))):
        words = shlex.split(re.sub(r"  #.*| [|&].*", "", line.replace("...", "x").replace("FILE", __file__)))[
            1:
        ]
        command: click.Command | None = imxctl
        context: click.Context | None = None
        name: str | None = "imxctl"
        try:
            while isinstance(command, click.Group):
                context = command.make_context(name, words, parent=context)
                words = [*getattr(context, "_protected_args", ()), *context.args]
                name, command, words = command.resolve_command(context, words) if words else ("", None, [])
            if command is not None:
                command.make_context(name, words, parent=context)
        except click.UsageError as error:
            pytest.fail(f"{line}: {error.format_message()}")


#: Indented, or between fences; what follows a fence's beginning is its language.
_BLOCKS = re.compile(r"^```(\w*)\n(.*?)^```|((?:^ {4,}\S[^\n]*\n|^\n(?= {4}))+)", re.MULTILINE | re.DOTALL)
#: Where a configuration begins in a block that shows how a file is made, too.
_BEGINS = re.compile(r"^(?:\[|[\w.-]+ = |# /etc)", re.MULTILINE)
_TABLE = re.compile(r"^\[", re.MULTILINE)


def fragments(page: Path) -> Iterator[str]:
    """Pieces of a configuration on a page: blocks that hold tables, and those of keys alone."""
    for language, fenced, indented in _BLOCKS.findall(page.read_text()):
        text = textwrap.dedent(fenced or indented)
        begins = _BEGINS.search(text)
        if begins is None or language not in {"", "toml"}:
            continue
        try:
            tomllib.loads(text[begins.start() :])
        except tomllib.TOMLDecodeError:
            assert not _TABLE.search(text), text
        else:
            yield text[begins.start() :]


def whole(fragment: str) -> str:
    """A fragment with what it leaves to the rest of the file: the router, services that it names, keys."""
    if 'kind = "imx"' in fragment and not re.search("^(key|certificate) = ", fragment, re.MULTILINE):
        fragment = fragment.replace('kind = "imx"', f'kind = "imx"\nkey = "{"ab" * 32}"')
    data = tomllib.loads(fragment)
    attached = [one["service"] for one in data.get("xmpp", {}).get("component", [])]
    kinds = {one["service"]: "embedded" for one in data.get("domain", [])} | dict.fromkeys(attached, "xmpp")
    there = {one["name"] for one in data.get("service", [])}
    head = "".join(f'{key} = "{value}"\n' for key, value in _HEAD.items() if key not in data)
    tail = "".join(
        f'\n[[service]]\nname = "{name}"\nkind = "{kind}"\n' + 'users = ["alice"]\n' * (kind == "embedded")
        for name, kind in kinds.items()
        if name not in there
    )
    if not there and not kinds:
        tail += '\n[[service]]\nname = "home"\nkind = "embedded"\nusers = ["alice"]\n'
    return f"{head}{fragment}\n{tail}"


_HEAD = {"name": "im1.a.example", "role": "aggregator"}
#: Keys that are shown without their table: what stands before them in a file.
_OF_TABLES = {
    "subscription_lifetime_s": '[[domain]]\nname = "a.example"\nservice = "home"\n',
    "address": (
        '[[xmpp.component]]\nservice = "chat"\nsecret_file = "/etc/imxrouter/s"\ndomains = ["far.example"]\n'
    ),
}


@pytest.mark.parametrize("page", GUIDES, ids=lambda page: str(page.relative_to(ROOT)))
def test_configurations_in_the_guides_are_good(page: Path) -> None:
    """Each piece shown is taken by the check as it stands, in a file that has the rest of it."""
    for text in fragments(page):
        key = text.partition(" = ")[0]
        table = _OF_TABLES.get(key, "") if not _TABLE.search(text) else ""
        try:
            parse(Document(page.name, whole(table + text)))
        except ConfigError as error:
            pytest.fail(f"{text}\n" + "\n".join(map(str, error.problems)))


def test_pages_that_show_configurations_are_read() -> None:
    """None of them is passed over; a table that nobody reads is none that is checked."""
    count = {page.name: len(list(fragments(page))) for page in GUIDES}
    shown = {
        "README.md", "access.md", "certificates.md", "configure.md", "hosted.md", "identity.md", "install.md",
        "quality.md", "xmpp-components.md", "xmpp-inside.md",
    }  # fmt: skip
    assert {name for name, pieces in count.items() if pieces} == shown
    assert (count["configure.md"], count["identity.md"], count["xmpp-components.md"]) == (6, 4, 4)


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
