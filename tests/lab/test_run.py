"""`make run`: two organisations as processes of their own, with real DNS, real dial-back, real messages."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from click.testing import CliRunner

from imxrouter.cli.main import imxctl
from imxrouter.lab.scenery import QUICK_DEAD_S, STORY
from imxrouter.lab.screen import Seen
from imxrouter.lab.stage import unseen

#: The laboratory takes about three seconds; CI machines are slower and run other tests beside it.
LONG_S = 60

STEP = re.compile(r"^ *[\d.]+ ms  (gateway|aggregator) +(\w[\w-]*(?: \w+)?)  ", re.MULTILINE)


def laboratory(*arguments: str) -> list[str]:
    """Return the command."""
    return [sys.executable, "-m", "imxrouter.lab", *arguments]


@pytest.fixture(scope="module")
def scenes() -> list[str]:
    """Give what `make run ONCE=1 FAIL=1` writes, scene by scene; it ends by itself and well."""
    words = laboratory("--once", "--fail")
    run = subprocess.run(words, capture_output=True, text=True, timeout=LONG_S, check=False)
    assert run.returncode == 0, run.stdout + run.stderr
    return re.split(r"^\d\. ", run.stdout, flags=re.MULTILINE)[1:]


def test_message_crosses_and_every_step_is_shown(scenes: list[str]) -> None:
    """From nothing to delivered messages: both routers' steps, in the order in which they happened."""
    first, second, third = scenes[:3]
    seen = STEP.findall(first)
    expected = [
        ("gateway", "look-up"), ("gateway", "connection"), ("gateway", "claim"),
        ("aggregator", "claim"), ("aggregator", "look-up"), ("aggregator", "connection"),
        ("aggregator", "verification"), ("gateway", "verification"), ("gateway", "answer released"),
        ("aggregator", "proved"), ("gateway", "proved"), ("gateway", "sent"), ("aggregator", "delivery"),
        ("gateway", "answer"),
    ]  # fmt: skip
    places = [seen.index(step) for step in expected]
    assert places == sorted(places)
    assert "found by IMX: im.hoster.example" in first
    assert re.search(r"success after \d+\.\d ms", first)
    # The reply needs nothing but the link that is proved.
    assert STEP.findall(second) == [
        ("aggregator", "accepted"),
        ("aggregator", "sent"),
        ("gateway", "delivery"),
        ("aggregator", "answer"),
    ]
    # Another domain of the same router proves itself over the links that are there.
    assert "found by SRV: im.hoster.example" in third
    assert "is connected already" in third
    assert ("gateway", "proved") in STEP.findall(third)


def test_presence_and_an_attribute_cross(scenes: list[str]) -> None:
    """Asked, approved, told of a change, and an alias: each with the line that does the same."""
    asked, changed, attribute = scenes[3:6]
    assert STEP.findall(asked) == [
        ("aggregator", "accepted"), ("aggregator", "sent"), ("gateway", "delivery"), ("aggregator", "answer"),
        ("gateway", "accepted"), ("gateway", "sent"), ("aggregator", "delivery"), ("gateway", "answer"),
    ]  # fmt: skip
    assert asked.index("pending until he agrees") < asked.index("--approve rosa@red.example")
    assert re.search(r"active for 1(800|7[5-9]\d) s; he is offline", asked)
    assert "imxctl presence bob@b.example --publish away" in changed
    assert 'rosa@red.example sees: open, away, "Back at three" (en)' in changed
    assert "imxctl attributes bob@b.example alias --as rosa@red.example" in attribute
    assert re.search(r"alias: Bobby, told by b\.example in \d", attribute)


def test_a_cut_network_is_named_and_heals(scenes: list[str]) -> None:
    """Unknown in time with reason, stage and domain; a message fails; the others go on (FCC-3)."""
    cut, healed = scenes[6:]
    told = re.search(r"sees: unknown, ([\w-]+) at stage (\w+), b\.example; after ([\d.]+) s", cut)
    assert told is not None, cut
    assert told[1] in {"hello-timeout", "keepalive-timeout"}
    assert told[2] == "peer"
    assert float(told[3]) <= QUICK_DEAD_S
    assert re.search(r"failure: [\w-]+ at stage \w+, towards b\.example; try again", cut)
    assert "greta@green.example is not disturbed" in cut
    assert re.search(r"sees: open, away, [\d.]+ s later", healed)
    assert "a message is delivered" in healed
    assert "3 messages, a subscription, a change of state and an attribute crossed" in healed


def test_says_what_failed_and_leaves_nothing_behind(tmp_path: Path) -> None:
    """A laboratory that cannot be ready in time exits with 1 and a sentence; its folder is gone."""
    run = subprocess.run(
        laboratory("--once", "--deadline", "0.01"),
        capture_output=True, text=True, timeout=LONG_S, check=False,
        env={**os.environ, "TMPDIR": str(tmp_path)},
    )  # fmt: skip
    assert run.returncode == 1
    assert "the laboratory failed: not ready within 0.01 s: " in run.stdout
    assert list(tmp_path.glob("imxrouter-lab-*")) == []


def command_line(process: Path) -> str:
    """Return a process's command line; empty where it has just ended."""
    try:
        return (process / "cmdline").read_text()
    except OSError:
        return ""


@pytest.fixture
def staying(tmp_path: Path) -> Iterator[tuple[subprocess.Popen[str], list[str]]]:
    """Give a laboratory that stays up, and what it wrote until then."""
    with (tmp_path / "out").open("w+") as out:
        process = subprocess.Popen(laboratory(), stdout=out, stderr=subprocess.STDOUT, text=True)
        until = time.monotonic() + LONG_S
        while "Ctrl-C stops everything" not in (text := (tmp_path / "out").read_text()):
            assert process.poll() is None, text
            assert time.monotonic() < until, text
            time.sleep(0.1)
        yield process, text.splitlines()
        process.terminate()
        process.wait(LONG_S)


def test_stays_up_with_lines_to_try(staying: tuple[subprocess.Popen[str], list[str]]) -> None:
    """Every `imxctl` line that is printed works as it stands; the last signal stops every process."""
    process, lines = staying
    cut = next(number for number, line in enumerate(lines) if line.startswith("Cut the other side"))
    pids = {line.split()[2] for line in lines[cut:] if line.startswith("  kill -")}
    assert [command_line(Path("/proc") / pid).count("twistd") for pid in pids] == [1]
    commands = [line.split("imxctl ", 1)[1] for line in lines[:cut] if "imxctl --socket" in line]
    assert len(commands) > 8
    sent = ""
    for command in commands:
        if " watch " in command or "--follow" in command:
            continue  # stays until it is interrupted
        arguments = [word.strip("'") for word in re.findall(r"'[^']*'|\S+", command)]
        ran = CliRunner().invoke(imxctl, [sent if word == "ID" else word for word in arguments])
        assert ran.exit_code == 0, f"{command}: {ran.output}"
        if " send " in command:
            sent = re.findall(r"\(id (\w+)\)", ran.output)[0]
            assert "delivered to red.example in " in ran.output
    folder = Path(commands[0].split()[1]).parents[1]
    process.send_signal(signal.SIGINT)
    assert process.wait(LONG_S) == 0
    assert not folder.exists()
    assert [process for process in Path("/proc").glob("[0-9]*") if str(folder) in command_line(process)] == []


def test_a_missing_step_is_named() -> None:
    """Steps must come in their order; the first that does not is told."""
    reply = STORY[1]
    steps = [Seen(0.0, router, step, "", 0) for router, step in reply.shows]
    assert unseen(reply, steps) == ""
    assert unseen(reply, steps[:1]) == "delivery (gateway)"
    assert unseen(reply, steps[::-1]) == "delivery (gateway)"
    assert unseen(reply, []) == "accepted (aggregator)"
