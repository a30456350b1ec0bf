"""Ports of tests: none is given twice, to nobody else, and none that an outgoing connection may take."""

import socket
import subprocess
import sys
from itertools import pairwise
from pathlib import Path

import pytest

from tests.doubles.ports import BLOCK, FIRST, STEP, Ports

IP = "127.0.0.1"
EACH = BLOCK // STEP


def test_no_port_is_given_twice() -> None:
    """Not bound yet, or bound; more than a block has."""
    ports = Ports("once")
    given = [ports.take(IP) for _ in range(3 * EACH)]
    assert len(set(given)) == len(given)
    assert all(right - left >= STEP for left, right in pairwise(sorted(given)))
    lowest = int(Path("/proc/sys/net/ipv4/ip_local_port_range").read_text().split()[0])
    assert max(given) < lowest
    assert min(given) >= FIRST


def test_each_address_has_all_ports_of_a_block() -> None:
    """A block is enough for as many addresses as a run makes."""
    ports = Ports("each")
    assert len({ports.take(f"127.9.9.{number}") for number in range(1, 50)}) == 1


def test_another_process_has_others() -> None:
    """Though nothing is bound yet; when this one has ended, they are free again."""
    ports = Ports("shared")
    ours = {ports.take(IP) // BLOCK for _ in range(2 * EACH)}
    text = "from tests.doubles.ports import *; ports = Ports('shared'); "
    text += f"print([ports.take({IP!r}) for _ in range({2 * EACH})])"
    theirs = [_blocks(text) for _ in range(2)]
    assert all(one and not one & ours for one in theirs)


def _blocks(text: str) -> set[int]:
    program = [sys.executable, "-c", text]
    said = subprocess.run(program, capture_output=True, text=True, check=True, cwd=Path(__file__).parents[1])
    return {int(port) // BLOCK for port in said.stdout.strip("[]\n").split(",")}


@pytest.mark.parametrize("kind", [socket.SOCK_STREAM, socket.SOCK_DGRAM], ids=["TCP", "UDP"])
def test_what_somebody_else_listens_on_is_left_out(kind: socket.SocketKind) -> None:
    """A program that is none of ours."""
    ports = Ports("beside")
    ip = "127.9.9.9"
    taken = ports.take("127.9.9.8")
    with socket.socket(socket.AF_INET, kind) as other:
        other.bind((ip, taken))
        if kind is socket.SOCK_STREAM:
            other.listen()
        assert ports.take(ip) == taken + STEP


def test_it_says_when_no_port_is_left(monkeypatch: pytest.MonkeyPatch) -> None:
    """Rather than to look for ever."""
    monkeypatch.setattr("tests.doubles.ports.BLOCKS", 2)
    ports = Ports("all")
    assert len({ports.take(IP) for _ in range(2 * EACH)}) == 2 * EACH
    with pytest.raises(LookupError, match="taken"):
        ports.take(IP)
