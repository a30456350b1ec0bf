"""`imxctl config reload`, `show` and `diff`: what they print and how they exit."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from imxrouter.cli.exits import Exit
from tests.cli.test_imxctl import Shell, run

FILE = """name = "im.a.example"
{more}
[[service]]
name = "home"
kind = "embedded"
users = ["alice"]

[[domain]]
name = "a.example"
service = "home"
"""


def test_reload_tells_what_was_done(shell: Shell) -> None:
    """Changes with their class, notes, domains, links, processes, and a last line with the sum."""
    result = shell("config", "reload")
    assert result.exit_code == Exit.OK
    assert result.stdout.splitlines() == [
        "~ links.ping_s: 10.0 -> 5.0  (to new links)",
        "~ workers: 1 -> 2  (at a restart)",
        "+ [[domain]] b.example  (at once)",
        "  dial-back keys: others than before",
        "domains: 1 added, 0 removed, 0 changed",
        "links concerned: 1, of all others none is touched",
        "  link 7 (192.0.2.1:6490): c.example ends on it",
        "process 0: applied",
        "process 1: applied",
        "applied: 2 change(s); 1 wait for a restart",
    ]
    assert shell.port.config.calls == [False]


def test_a_dry_run_says_so(shell: Shell) -> None:
    """In its last line, and to the router."""
    result = shell("config", "reload", "--dry-run")
    assert result.stdout.splitlines()[-1] == "a reload would apply 2 change(s); 1 wait for a restart"
    assert shell.port.config.calls == [True]
    assert shell.json("config", "reload", "--dry-run")["dry_run"] is True


@pytest.mark.parametrize(("word", "code"), [("refused", Exit.CONFIG), ("failed", Exit.FAILED)])
def test_what_was_not_done_is_an_exit_code(shell: Shell, word: str, code: Exit) -> None:
    """With every problem and what to do about it, on standard error as `config check` has it."""
    shell.port.config.answer |= {
        "result": word, "changes": [],
        "problems": [{"file": "x.toml", "path": "links.ping_s", "what": "is bad", "do": "write 5"}],
    }  # fmt: skip
    result = shell("config", "reload")
    assert result.exit_code == code
    assert result.stderr == "error: x.toml: links.ping_s: is bad\n       write 5\n"
    assert result.stdout == f"{word}: nothing was changed\n"


def test_show_has_each_key_with_its_source(shell: Shell) -> None:
    """By table; one of them alone where it is asked for."""
    assert shell("config", "show").stdout.splitlines() == [
        "# /etc/imxrouter/imxrouter.toml", 'name = "router.a.example"  # file', "", "[links]",
        "ping_s = 10.0  # default, another value waits for a restart", "", "[[domain]]",
        'service = "home"  # run time', "", "[[peer]]", "# policy is not set", "",
        "# and 1000 more domains: imxctl domains",
    ]  # fmt: skip
    assert shell("config", "show", "links").stdout.splitlines()[-1].startswith("ping_s = 10.0  # default")
    assert "service" not in shell("config", "show", "links").stdout
    assert shell("config", "show", "link").exit_code == Exit.NOT_FOUND


def test_diff_compares_two_files(tmp_path: Path) -> None:
    """Without a router; a wrong one is named."""
    for name, more in (("old", ""), ("new", "links.ping_s = 5"), ("bad", "links.pings_s = 5")):
        (tmp_path / name).write_text(FILE.format(more=more))
    old, new, bad = (str(tmp_path / name) for name in ("old", "new", "bad"))
    assert run("config", "diff", old, new).stdout == "~ links.ping_s: 10.0 -> 5.0  (to new links)\n"
    assert run("config", "diff", old, old).stdout == "no difference\n"
    (row,) = json.loads(run("config", "diff", old, new, "--json").stdout)
    assert (row["key"], row["applies"]) == ("ping_s", "to new links")
    result = run("config", "diff", old, bad)
    assert result.exit_code == Exit.CONFIG
    assert "links.pings_s" in result.stderr
