"""Runs a fuzz target: guided by coverage where atheris is installed, else by a loop of mutations.

A target is a function of bytes that raises where its invariant is broken, and returns a small value that
tells kinds of input apart. The loop keeps inputs that gave a value not seen before and mutates them further;
it says in its output that it ran instead of atheris. Both are seeded, and both print an input that breaks
the target.
"""

from __future__ import annotations

import argparse
import random
import sys
import time
import traceback
from collections.abc import Callable, Hashable
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path

Target = Callable[[bytes], Hashable]

#: Longer inputs than a handful of records find nothing more and are slower.
MAX_BYTES = 4096
#: Inputs kept as parents of further ones.
MAX_POOL = 2000
CORPUS = Path(__file__).parent / "corpus"
_NUMBERS = (0, 1, 0x7F, 0x80, 0xFF, 0x100, 0x7FFF, 0x8000, 0xFFFF, 0x00FFFFFF, 0xFFFFFFFF)


def instrumented() -> AbstractContextManager[object]:
    """Import a target's code inside this, so that atheris, where it is, sees its branches."""
    if find_spec("atheris") is None or "pytest" in sys.modules:
        return nullcontext()
    atheris = import_module("atheris")  # an extra, and only for the command line

    context: AbstractContextManager[object] = atheris.instrument_imports(include=["imxrouter"])
    return context


@dataclass(frozen=True, slots=True)
class Finding:
    """An input that broke the invariant."""

    data: bytes
    trace: str


def mutate(data: bytes, seeds: list[bytes], chance: random.Random) -> bytes:
    """One to six changes: bits, bytes, numbers, cuts, copies, pieces of other seeds."""
    out = bytearray(data)
    for _ in range(chance.randint(1, 6)):
        at = chance.randrange(len(out) + 1)
        width = chance.choice((1, 2, 4))
        match chance.randrange(7):
            case 0 if at < len(out):
                out[at] ^= 1 << chance.randrange(8)
            case 1 if at < len(out):
                out[at] = chance.randrange(256)
            case 2:
                number = chance.choice(_NUMBERS) & ((1 << 8 * width) - 1)
                out[at : at + width] = number.to_bytes(width, "big")
            case 3:
                del out[at : at + chance.randint(1, 32)]
            case 4:
                out[at:at] = chance.randbytes(chance.randint(1, 16))
            case 5:
                start = chance.randrange(len(out) + 1)
                out[at:at] = out[start : start + chance.randint(1, 64)]
            case _:
                other = chance.choice(seeds)
                start = chance.randrange(len(other) + 1)
                out[at:at] = other[start : start + chance.choice((4, 40, len(other)))]
    return bytes(out[:MAX_BYTES])


def search(
    target: Target, seeds: list[bytes], seed: int, *, runs: int = 0, seconds: float = 0.0
) -> tuple[int, int, Finding | None]:
    """Try the seeds, then mutations of them and of what was new, for so many runs or seconds.

    Returns:
        How many inputs were tried, how many kinds they were of, and what broke the target.
    """
    chance = random.Random(seed)
    pool, seen = list(seeds), set[Hashable]()
    end, count = time.monotonic() + seconds, 0
    while count < runs if runs else time.monotonic() < end:
        data = seeds[count] if count < len(seeds) else mutate(chance.choice(pool), seeds, chance)
        count += 1
        try:
            kind = target(data)
        except Exception:  # noqa: BLE001 - whatever it is, it is a finding
            return count, len(seen), Finding(data, traceback.format_exc())
        if kind in seen:
            continue
        seen.add(kind)
        if len(pool) < MAX_POOL:
            pool.append(data)
        else:
            pool[chance.randrange(len(seeds), MAX_POOL)] = data
    return count, len(seen), None


def main(name: str, target: Target, seeds: list[bytes], arguments: list[str] | None = None) -> int:
    """The command line of a target; 0 where nothing broke, 1 with the input where something did."""
    parser = argparse.ArgumentParser(prog=f"python -m tests.fuzz.{name}")
    parser.add_argument("--seconds", type=float, default=10.0, help="how long (default: 10)")
    parser.add_argument("--runs", type=int, default=0, help="so many inputs instead; the loop only")
    parser.add_argument("--seed", type=int, default=1, help="same seed, same inputs (default: 1)")
    parser.add_argument("--engine", choices=("auto", "atheris", "loop"), default="auto")
    parser.add_argument("--input", help="try this one input, in hex")
    given = parser.parse_args(arguments)
    if given.input is not None:
        sys.stdout.write(f"{target(bytes.fromhex(given.input))}\n")
        return 0
    has_atheris = find_spec("atheris") is not None
    if given.engine == "atheris" or (given.engine == "auto" and has_atheris and not given.runs):
        _run_atheris(name, target, seeds, given.seconds, given.seed)
    why = "" if has_atheris else ", atheris is not installed"
    sys.stdout.write(f"{name}: loop of mutations, seed {given.seed}{why}\n")
    sys.stdout.flush()
    count, kinds, found = search(target, seeds, given.seed, runs=given.runs, seconds=given.seconds)
    if found is None:
        sys.stdout.write(f"{name}: {count} inputs of {kinds} kinds, none broke it\n")
        return 0
    sys.stdout.write(f"{found.trace}{name}: input {count} broke it; again with --input {found.data.hex()}\n")
    return 1


def _run_atheris(name: str, target: Target, seeds: list[bytes], seconds: float, seed: int) -> None:
    """Does not return: the fuzzer ends the process, with 0 or with a finding's trace and a file crash-*."""
    atheris = import_module("atheris")

    folder = CORPUS / name
    folder.mkdir(parents=True, exist_ok=True)
    for number, data in enumerate(seeds):
        (folder / f"seed-{number:03}").write_bytes(data)

    def run(data: bytes) -> None:
        target(data)

    sys.stdout.write(f"{name}: atheris, seed {seed}\n")
    sys.stdout.flush()
    options = [
        f"-max_total_time={max(1, int(seconds))}",
        f"-seed={seed}",
        f"-max_len={MAX_BYTES}",
        "-verbosity=0",
    ]
    atheris.Setup([name, *options, "-print_final_stats=1", str(folder)], run)
    atheris.Fuzz()
