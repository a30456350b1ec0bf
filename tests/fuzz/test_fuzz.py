"""The fuzz targets: a short run of each with a fixed seed, and a long one in `make soak`."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests.fuzz import (
    access,
    attributes,
    decoder,
    engine,
    html_lite,
    link,
    pidf,
    streams,
    switch,
    xmpp,
    xmpp_error,
    xmpp_form,
    xmpp_jid,
    xmpp_message,
    xmpp_presence,
)
from tests.vectors.load import seeds

TARGETS = {
    "decoder": (decoder.check, seeds()),
    "link": (link.check, link.stories()),
    "switch": (switch.check, switch.lives()),
    "pidf": (pidf.check, pidf.seeds()),
    "html_lite": (html_lite.check, html_lite.seeds()),
    "attributes": (attributes.check, attributes.seeds()),
    "access": (access.check, access.seeds()),
    "xmpp": (xmpp.check, xmpp.seeds()),
    "xmpp_presence": (xmpp_presence.check, xmpp_presence.seeds()),
    "streams": (streams.check, streams.stories()),
    "xmpp_jid": (xmpp_jid.check, xmpp_jid.seeds()),
    "xmpp_message": (xmpp_message.check, xmpp_message.seeds()),
    "xmpp_error": (xmpp_error.check, xmpp_error.seeds()),
    "xmpp_form": (xmpp_form.check, xmpp_form.seeds()),
}
ROOT = Path(__file__).parents[2]
SOAK_S = float(os.environ.get("IMXROUTER_SOAK_FUZZ_S", "300"))


@pytest.mark.parametrize("name", TARGETS)
def test_a_short_run_breaks_nothing(name: str) -> None:
    """The loop of mutations, 20,000 inputs, always the same ones; many kinds of them are reached."""
    target, first = TARGETS[name]
    count, kinds, found = engine.search(target, first, seed=1, runs=20_000)
    assert found is None, f"--input {found.data.hex()}\n{found.trace}"
    assert count == 20_000
    assert kinds > 30


@pytest.mark.parametrize("name", TARGETS)
def test_a_target_is_a_program(name: str) -> None:
    """The long run starts it as one; a module that only defines its target would try nothing."""
    lines = (ROOT / "tests" / "fuzz" / f"{name}.py").read_text().splitlines()
    assert lines[-2] == 'if __name__ == "__main__":'
    assert lines[-1].startswith(f'    sys.exit(engine.main("{name}", check, ')


def test_the_same_seed_gives_the_same_inputs() -> None:
    """A finding can be found again."""

    def tried(seed: int) -> list[bytes]:
        inputs: list[bytes] = []

        def target(data: bytes) -> int:
            inputs.append(data)
            return len(data)

        engine.search(target, seeds(), seed, runs=500)
        return inputs

    assert tried(3) == tried(3)
    assert tried(3) != tried(4)


def test_a_planted_fault_is_found(capsys: pytest.CaptureFixture[str]) -> None:
    """A target that looks closely finds something, and the input it prints breaks it again."""

    def target(data: bytes) -> object:
        kind = decoder.check(data)
        assert not (len(data) > 60 and data[40:42] == b"\x01\x11" and data[6] & 0x20)
        return kind

    assert engine.main("planted", target, seeds(), ["--engine", "loop", "--seconds", "60"]) == 1
    said = capsys.readouterr().out
    assert "loop of mutations, seed 1" in said
    found = said.rpartition("--input ")[2].strip()
    with pytest.raises(AssertionError):
        engine.main("planted", target, [], ["--input", found])


@pytest.mark.soak
@pytest.mark.parametrize("name", TARGETS)
def test_a_long_run_breaks_nothing(name: str) -> None:
    """Guided by coverage where atheris is installed, as `make soak` sees to."""
    done = subprocess.run(
        [sys.executable, "-m", f"tests.fuzz.{name}", "--seconds", str(SOAK_S)],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
        timeout=SOAK_S + 120,
    )
    assert done.returncode == 0, (done.stdout + done.stderr)[-8000:]
    tried = re.search(r"number_of_executed_units: (\d+)|: (\d+) inputs of", done.stderr + done.stdout)
    assert tried is not None, (done.stdout + done.stderr)[-8000:]
    count = int(tried[1] or tried[2])
    sys.stdout.write(f"{done.stdout.splitlines()[0]}: {count} inputs\n")
    assert count > len(TARGETS[name][1])
