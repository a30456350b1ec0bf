"""Lists from files, from `imxctl` and from the other processes: what holds, since when, and what is told."""

from __future__ import annotations

import json
import os
import shutil
import threading
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import pytest

from imxrouter.app.traffic.kept_access import ENTRIES, entry_from_store, entry_to_store
from imxrouter.cli.exits import Exit
from imxrouter.config.access import Access, AccessList, read_lists
from imxrouter.config.load import load
from imxrouter.config.problems import ConfigError
from imxrouter.model.patterns import Pattern
from imxrouter.model.vocabulary import Reason
from imxrouter.routing.access import Action, Direction, Entry, Scope
from imxrouter.routing.rules import Right
from tests.doubles.ctl import ctl, ctl_json, ctl_json_of_failure
from tests.doubles.raw_peer import text_message
from tests.doubles.reload_rig import Reloadable
from tests.doubles.router_rig import Lab, RouterRig, login_key, service_table

BOB, EVE = "bob@b.example", "eve@m.example"


def judged(rig: RouterRig, source: str = EVE, destination: str = BOB) -> dict[str, Any]:
    """What `imxctl policy explain` says."""
    return dict(json.loads(ctl(rig, "--json", "policy", "explain", source, destination).output))


def test_blocked_listed_explained_unblocked(lab: Lab) -> None:
    """The whole way of an entry made at run time."""
    b = lab.router("b.example")
    assert ctl_json(b, "policy", "list")["entries"] == []
    made = ctl_json(b, "policy", "block", "EVE@m.example", "--in", "--reason", "spam", "--hours", "2")
    (entry,) = made["entries"]
    assert (entry["match"], entry["direction"], entry["reason"]) == ("EVE@m.example", "in", "spam")
    assert entry["expires_at"] - entry["created_at"] == pytest.approx(7200, abs=2)
    told = judged(b)
    assert (told["verdict"], told["reason"], told["told"]) == ("refuse", "blocked", "not-delivered")
    assert told["steps"][-1]["setting"] == f"imxctl policy entry {entry['id']}"
    assert judged(b, "ann@m.example")["verdict"] == "wait"  # m.example is proved nowhere
    assert ctl_json(b, "policy", "list", "m.example")["entries"] == [entry]
    assert ctl_json(b, "policy", "list", "ann@m.example")["entries"] == []
    shown = ctl(b, "policy", "list").output
    assert "EVE@m.example" in shown
    assert "spam" in shown
    assert ctl_json(b, "policy", "unblock", "eve@M.EXAMPLE")["entries"] == [entry]
    assert judged(b)["verdict"] == "wait"
    assert ctl(b, "policy", "unblock", entry["id"]).exit_code == Exit.NOT_FOUND


def test_the_trace_names_the_rule(lab: Lab) -> None:
    """So that an operator sees why a message was refused; the sender does not."""
    b = lab.router("b.example", settings={"log.trace_entries": 100})
    (entry,) = ctl_json(b, "policy", "block", "eve@*")["entries"]
    link = lab.organisation("m.example").proved_link(b)
    link.send(text_message(EVE, BOB, "hello", 5))
    assert link.outcome().reason is Reason.NOT_DELIVERED
    trace = ctl(b, "trace", (5).to_bytes(16, "big").hex()).output
    assert "access lists: block eve@*, both" in trace
    assert entry["id"] in trace
    metrics = b.router.metrics.exposition().decode()
    assert 'imxrouter_access_refusals_total{direction="in",rule="local"} 1.0' in metrics
    assert 'imxrouter_access_entries{action="block",origin="run-time"} 1.0' in metrics


@pytest.mark.parametrize(
    ("words", "what"),
    [
        (["block", "a b"], "domain"),
        (["block", "m.example", "--for", "c.example"], "not served here"),
        (["block", "m.example", "--for", "tenant:x"], "no domain has the tenant"),
        (["block", "m.example", "--until", "2001-01-01"], "expired already"),
        (["block", "m.example", "--until", "soon"], "no date"),
        (["block", "m.example", "--until", "2099-01-01", "--hours", "1"], "one of"),
        (["explain", "x@@y", BOB], "'@'"),
    ],
)
def test_what_is_wrong_is_told(lab: Lab, words: list[str], what: str) -> None:
    """With what to do about it; nothing is changed."""
    b = lab.router("b.example")
    result = ctl(b, "policy", *words)
    assert result.exit_code == Exit.USAGE
    assert what in result.output
    assert ctl_json(b, "policy", "list")["entries"] == []


def test_explain_walks_what_comes_before(lab: Lab) -> None:
    """Served, suspended, policy, remembered strength, rate, size, types, way."""
    settings = {"trust.default_policy": "dialback+certificate", "limits.max_message_bytes": 100}
    b = lab.router("b.example", "s.example", settings=settings)
    told = ctl_json_of_failure(b, "policy", "explain", EVE, BOB)
    assert (told["reason"], told["steps"][-1]["setting"]) == (
        "weaker-than-policy", '[trust] default_policy = "dialback+certificate"',
    )  # fmt: skip
    ours = ctl_json_of_failure(b, "policy", "explain", BOB, "ann@s.example", "--size", "101")
    assert (ours["reason"], ours["steps"][-1]["setting"]) == ("too-large", "limits.max_message_bytes = 100")
    passes = ctl_json(b, "policy", "explain", BOB, "ann@s.example")
    assert passes["verdict"] == "pass"
    assert [step["step"] for step in passes["steps"]][-3:] == [
        "way", "limit output", "access lists and recipients' rules",
    ]  # fmt: skip
    ctl_json(b, "domains", "suspend", "s.example")
    assert ctl_json_of_failure(b, "policy", "explain", BOB, "ann@s.example")["reason"] == "suspended"
    assert ctl_json_of_failure(b, "policy", "explain", "ann@s.example", BOB)["reason"] == "suspended"
    assert ctl_json_of_failure(b, "policy", "explain", EVE, "x@n.example")["reason"] == "weaker-than-policy"
    ctl_json(b, "policy", "block", "m.example")
    claim = ctl_json_of_failure(b, "policy", "explain", EVE, BOB)
    assert (claim["decided_by"], claim["reason"]) == ("claim", "blocked")


def _write(path: Path, text: str, at: int) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, "utf-8")
    os.utime(path, (at, at))


def test_files_are_followed(lab: Lab) -> None:
    """Within a second, both kinds; a mistake changes nothing and is told; files win over nobody's command."""
    folder = lab.folder / "r0"
    plain = folder / "spam.list"
    b = lab.router("b.example", tables=f'[[access.list]]\nfile = "{plain}"\nreason = "list"\n')
    lists = folder / "access.d"
    _write(plain, "# ours\neve@m.example\n\n.spam.example # bad\n", 1)
    _write(lists / "a.toml", '[[entry]]\nmatch = "n.example"\naction = "allow"\nexpires = "2099-01-01"\n', 1)

    def idents() -> list[str]:
        return sorted(entry.ident for entry in b.router.access.lists)

    lab.wait_until(lambda: idents() == ["a.toml#1", "spam.list#2", "spam.list#4"], "the lists are read")
    assert judged(b)["reason"] == "blocked"
    assert ctl(b, "policy", "unblock", EVE).exit_code == Exit.FAILED
    _write(plain, "eve@m.example\nnot a domain\n", 2)
    lab.wait_until(lambda: bool(b.router.access.problems), "the mistake is seen")
    assert len(idents()) == 3
    assert "line 2" in ctl(b, "policy", "list").output
    assert ctl(b, "policy", "reload").exit_code == Exit.FAILED
    _write(plain, "other@m.example\n", 3)
    lab.wait_until(lambda: idents() == ["a.toml#1", "spam.list#1"], "the new list is read")
    assert ctl_json(b, "policy", "reload")["problems"] == []
    assert judged(b)["verdict"] == "wait"


def test_files_are_read_outside_the_reactor(lab: Lab, monkeypatch: pytest.MonkeyPatch) -> None:
    """However long a list is, links go on meanwhile; at an operator's word too."""
    b = lab.router("b.example")
    threads: list[int] = []
    plain = b.router.access._read_files

    def read(before: Iterable[Entry]) -> Any:
        threads.append(threading.get_ident())
        return plain(before)

    monkeypatch.setattr(b.router.access, "_read_files", read)
    assert ctl_json(b, "policy", "reload")["problems"] == []
    assert threads
    assert b.call(threading.get_ident) not in threads


def test_a_folder_that_cannot_be_read_lifts_no_block(lab: Lab, monkeypatch: pytest.MonkeyPatch) -> None:
    """What its files said goes on to hold, and the rest of the tick goes on too; root may read all."""
    lists = lab.folder / "r0" / "access.d"
    b = lab.router("b.example")
    _write(lists / "a.toml", '[[entry]]\nmatch = "eve@m.example"\n', 1)
    lab.wait_until(lambda: len(b.router.access.lists) == 1, "the list is read")
    iterdir = Path.iterdir

    def refused(path: Path) -> Iterator[Path]:
        if path == lists:
            raise PermissionError(13, "Permission denied", str(path))
        return iterdir(path)

    with monkeypatch.context() as patch:
        patch.setattr(Path, "iterdir", refused)
        lab.wait_until(lambda: bool(b.router.access.problems), "it is seen")
        assert judged(b)["reason"] == "blocked"
        assert "Permission denied" in ctl(b, "policy", "list").output
    lab.wait_until(lambda: not b.router.access.problems, "it can be read again")
    shutil.rmtree(lists)
    lab.wait_until(lambda: not len(b.router.access.lists), "who removes the folder removes its entries")


def test_a_file_in_the_place_of_another_is_read(lab: Lab) -> None:
    """It may be as old and as long: a link that is turned to another list, a copy that keeps its time."""
    folder = lab.folder / "r0"
    plain = folder / "spam.list"
    b = lab.router("b.example", tables=f'[[access.list]]\nfile = "{plain}"\n')
    _write(folder / "one", "eve@m.example\n", 1)
    _write(folder / "two", "bob@m.example\n", 1)
    plain.symlink_to(folder / "one")

    def texts() -> list[str]:
        return [entry.pattern.text for entry in b.router.access.lists]

    lab.wait_until(lambda: texts() == ["eve@m.example"], "the first list is read")
    (folder / "new").symlink_to(folder / "two")
    (folder / "new").replace(plain)
    lab.wait_until(lambda: texts() == ["bob@m.example"], "the second list is read")


def test_entries_survive_a_restart_and_reach_other_processes(lab: Lab) -> None:
    """They are in the store; what another process puts there holds here; what has expired is gone."""
    b = lab.router("b.example")
    (entry,) = ctl_json(b, "policy", "block", EVE)["entries"]
    access = b.router.access
    (kept,) = b.call(lambda: b.router.store.items(ENTRIES))
    again = entry_from_store(*kept)
    assert again == access.lists.get(entry["id"])
    other = Entry("r-0000000f", Pattern.parse("x.example"), Action.ALLOW, Direction.OUT, Scope.parse(BOB))
    b.call(lambda: access._changed_elsewhere(b"r-0000000f", entry_to_store(other), None))
    assert access.lists.get("r-0000000f") == other
    b.call(lambda: access._changed_elsewhere(b"r-0000000f", None, None))
    assert access.lists.get("r-0000000f") is None
    short = Entry("r-00000010", Pattern.parse("y.example"), Action.BLOCK, expires=access._wall() + 0.3)
    b.call(lambda: access.add(short))
    lab.wait_until(lambda: access.lists.get("r-00000010") is None, "it has expired", 5)


def test_a_configuration_with_a_bad_list_is_refused(tmp_path: Path) -> None:
    """With every mistake, by file and place; `imxctl config check` says so too."""
    bad = '[[entry]]\nmatch = "a b"\nscope = "tenant:"\nexpires = "soon"\n'
    _write(tmp_path / "access.d" / "x.toml", bad, 1)
    _write(tmp_path / "access.d" / "y.toml", "[[entry]]\nmach = 1\n", 1)
    _write(tmp_path / "access.d" / "z.toml", "[[", 1)
    main = tmp_path / "router.toml"
    main.write_text(
        'name = "r.a.example"\n[[access.list]]\nfile = "none.list"\n[[access.entry]]\nmatch = "@"\n', "utf-8"
    )
    with pytest.raises(ConfigError) as caught:
        load(main)
    places = {(Path(one.file).name, one.path) for one in caught.value.problems}
    assert places >= {
        ("x.toml", "entry[0].match"), ("x.toml", "entry[0].scope"), ("x.toml", "entry[0].expires"),
        ("y.toml", "entry[0].mach"), ("z.toml", ""), ("none.list", ""), (main.name, "access.entry[0].match"),
    }  # fmt: skip


def test_a_long_list_is_read_in_time(tmp_path: Path) -> None:
    """Twenty thousand lines, each an entry of its own."""
    path = tmp_path / "long.list"
    path.write_text("".join(f"spam{n}.example\n" for n in range(20_000)), "utf-8")
    placed, problems = read_lists(Access(dir=str(tmp_path), lists=(AccessList(file=str(path)),)))
    assert (len(placed), problems) == (20_000, [])


def test_a_reload_takes_lists_and_first_contact(lab: Lab) -> None:
    """`imxctl config reload` as well as the files of the lists; domains and services as they say now."""
    b = lab.router("b.example")
    file = Reloadable(b)
    file.text += '[[access.entry]]\nmatch = "eve@m.example"\nreason = "bad"\n'
    file.edit()
    view = file.reload()
    assert [(one["table"], one["entry"], one["applies"]) for one in view["changes"]] == [
        ("access.entry", "eve@m.example", "at once")
    ]
    lab.wait_until(lambda: len(b.router.access.lists) == 1, "the list is taken")
    assert judged(b)["steps"][-1]["setting"] == "[[access.entry]] 1"
    file.text = file.text.replace("eve@m", "ann@m")
    file.edit()
    file.reload()
    lists = b.router.access.lists
    lab.wait_until(lambda: [one.pattern.text for one in lists] == ["ann@m.example"], "it is taken anew")
    assert judged(b)["verdict"] == "wait"


def test_the_other_process_of_a_host_follows(lab: Lab) -> None:
    """Two processes with one state file: entries, their end, and users' rules, within about a second."""
    state = str(lab.folder / "shared")
    shared = {"listen.reuse_port": True, "state_dir": state}
    key = login_key(1)
    tables = service_table("shop", key, "shop.example").replace(
        'kind = "imx"\n', 'kind = "imx"\nfirst_contact = "open"\n'
    )
    one = lab.router("b.example", tables=tables, settings=shared)
    two = lab.router("b.example", tables=tables, settings={**shared, "process": 1}, publish=False)
    (entry,) = ctl_json(one, "policy", "block", EVE)["entries"]
    lists = two.router.access.lists
    lab.wait_until(lambda: lists.get(entry["id"]) is not None, "the other process has the entry")
    ctl_json(one, "policy", "unblock", EVE)
    lab.wait_until(lambda: len(lists) == 0, "the other process has forgotten it")
    ctl_json(one, "rules", "seller@shop.example", "--block", EVE, "--right", "message")
    lab.wait_until(lambda: len(two.router.access.recipients) == 1, "the other process has the rule")
    gate = two.router.access.gate
    ruling = gate.judge(EVE.encode(), b"seller@shop.example", Right.MESSAGE)
    assert ruling is not None
    assert ruling.rule == f"seller@shop.example: {EVE}"
