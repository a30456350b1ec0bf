"""What a stranger's stream holds, in numbers: bounded, whatever part of a stream he sends."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from tests.gateways.xmpp.streams.memory import KINDS

ROOT = Path(__file__).parents[4]
#: Kind -> (streams, bytes at most). Measured: 9.0, 24.4, 28.6, 44.5 and 55.8 kB; a fifth more is room for
#: other allocators. A parser is made at the first byte of XML, so who says nothing costs none.
BOUNDS = {
    "silent": (1000, 11_000),
    "header": (1000, 30_000),
    "half a stanza": (1000, 35_000),
    "tls": (300, 54_000),
    "tls header": (300, 67_000),
}


@pytest.mark.parametrize("kind", KINDS)
def test_a_strangers_stream_is_bounded(kind: str) -> None:
    """Measured over many streams, in a process of its own."""
    count, most = BOUNDS[kind]
    done = subprocess.run(
        [sys.executable, "-m", "tests.gateways.xmpp.streams.memory", kind, str(count)],
        cwd=ROOT, capture_output=True, text=True, check=True, timeout=120,
    )  # fmt: skip
    assert 1000 < float(done.stdout) < most
