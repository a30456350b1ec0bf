"""docs/operators/access.md, carried out: its files are the configuration, its commands run in order."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

from imxrouter.cli.exits import Exit
from tests.doubles.ctl import ctl
from tests.doubles.router_rig import Lab, login_key, service_table

PAGE = Path(__file__).parents[2] / "docs" / "operators" / "access.md"
#: An indented block, without its indent.
_BLOCKS = re.compile(r"(?:^ {4}.*\n)+", re.MULTILINE)


def test_the_page_is_carried_out(lab: Lab) -> None:
    """Each command ends as the page says, each file is taken."""
    blocks = [re.sub(r"^ {4}", "", block, flags=re.MULTILINE) for block in _BLOCKS.findall(PAGE.read_text())]
    folder = lab.folder / "r0"
    (folder / "access.d").mkdir(parents=True)
    (folder / "spam.list").write_text("# weekly\nanother.example\n")
    (entry,) = [block for block in blocks if block.startswith("[[access.entry]]")]
    (folder / "access.d" / "partners.toml").write_text(entry.replace("access.entry", "entry"))
    (lists,) = [block for block in blocks if block.startswith("[[access.list]]")]
    (service,) = [block for block in blocks if block.startswith("[[service]]")]
    key = login_key(1)
    tables = service_table("shop", key, "shop.example", types=("subscribe", "notify"))
    begun = '[[service]]\nname = "shop"\nkind = "imx"\n'
    assert service.startswith(begun)
    tables = tables.replace(begun, service) + lists + entry
    b = lab.router("b.example", users=("bob", "abuse"), tables=tables, settings={"lab": True})
    lab.publish("shop.example", b.endpoint)
    shop = lab.organisation("any.example").connect(b)
    assert shop.log_in(key) == 0
    commands = [line for block in blocks for line in block.splitlines() if line.startswith("imxctl ")]
    assert len(commands) > 18
    for line in commands:
        command, _, comment = line.partition("  # ")
        result = ctl(b, *shlex.split(command)[1:])
        wanted = Exit.FAILED if comment == "exits with 1" else Exit.OK
        assert result.exit_code == wanted, f"{line}\n{result.output}"
    entries = b.router.access.lists
    assert {one.ident for one in entries if not one.at_run_time} == {
        "main#1",
        "partners.toml#1",
        "spam.list#2",
    }
