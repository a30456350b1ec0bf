"""What the bench measures with: the load generator, compiled here, and forwarders to measure beside.

`load.c` and `stanzas.c` say in their heads how they are called and what they print.
"""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

HERE = Path(__file__).parent

#: A forwarder that does not listen by then will not.
START_S = 10.0


class NoTool(Exception):
    """A program that the bench needs is not installed; says which and how to get it."""


def build_load(build_dir: Path, name: str = "load") -> Path:
    """Compile a load generator unless that was done since its source changed.

    Args:
        build_dir: where the program goes.
        name: `load`, or `stanzas` for XMPP.

    Raises:
        NoTool: there is no C compiler, or it refuses.
    """
    source, program = HERE / f"{name}.c", build_dir / name
    compiler = shutil.which("gcc") or shutil.which("cc")
    if compiler is None:
        raise NoTool("the bench needs a C compiler for its load generator: apt install gcc libc6-dev")
    changed = max(part.stat().st_mtime for part in (source, *HERE.glob("*.h")))
    if program.exists() and program.stat().st_mtime >= changed:
        return program
    build_dir.mkdir(parents=True, exist_ok=True)
    fresh = program.with_suffix(f".{os.getpid()}")
    quiet = "-Wno-unused-function"  # each generator has a use for most of what the headers have
    command = [compiler, "-O2", "-Wall", "-Wextra", quiet, "-o", str(fresh), str(source)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        raise NoTool(f"{compiler} cannot compile {source.name} (is libc6-dev there?):\n{done.stderr}")
    fresh.replace(program)
    return program


@dataclass(frozen=True, slots=True)
class Load:
    """One run of the generator; see `load.c` for each value.

    Attributes:
        window: requests without an answer on each sender link.
        rate: requests a second; 0: what the window allows.
        seconds: measured time.
        warmup: seconds before.
        drain: seconds to wait for the last answers.
        addresses: sending users.
        body: bytes of a body.
        kind: `message`, `subscribe` or `notify`.
    """

    window: int = 4096
    rate: float = 0.0
    seconds: float = 5.0
    warmup: float = 1.0
    drain: float = 5.0
    addresses: int = 10_000
    body: int = 200
    kind: str = "message"


@dataclass(frozen=True, slots=True)
class StanzaEnds:
    """The streams of one run.

    Attributes:
        senders: where messages are written.
        receivers: streams on which they arrive.
        answers: one for each receiver, where pings that came there are answered; empty: the receivers.
        imx: IMX service links on which they arrive as records.
    """

    senders: Sequence[socket.socket]
    receivers: Sequence[socket.socket] = ()
    answers: Sequence[socket.socket] = ()
    imx: Sequence[socket.socket] = ()


def run_load(
    program: Path,
    load: Load,
    senders: Sequence[socket.socket],
    responders: Sequence[socket.socket],
    from_file: Path,
    to_file: Path,
    on_event: Callable[[str], None] = lambda _event: None,
) -> dict[str, Any]:
    """Run the generator over connections that are open and authenticated.

    Args:
        program: what `build_load` gave.
        load: the load.
        senders: links that send requests.
        responders: links that answer them.
        from_file: source domains, one a line.
        to_file: destination domains, one a line.
        on_event: told `measuring` and `measured`, the moments to read CPU times.

    Returns:
        the result object.

    Raises:
        RuntimeError: the generator failed; with what it said.
    """
    fds = [link.fileno() for link in (*senders, *responders)]
    lists = [",".join(str(link.fileno()) for link in links) for links in (senders, responders)]
    command = [
        str(program), "--senders", lists[0], "--responders", lists[1], "--from-file", str(from_file),
        "--to-file", str(to_file), "--window", str(load.window), "--rate", str(load.rate),
        "--seconds", str(load.seconds), "--warmup", str(load.warmup), "--addresses", str(load.addresses),
        "--drain", str(load.drain), "--body", str(load.body), "--kind", load.kind,
    ]  # fmt: skip
    return _run(command, fds, on_event)


def run_stanzas(
    program: Path,
    load: Load,
    streams: StanzaEnds,
    from_file: Path,
    to_file: Path,
    on_event: Callable[[str], None] = lambda _event: None,
) -> dict[str, Any]:
    """Run the generator of stanzas over streams that are open and proved.

    Args:
        program: what `build_load` gave for `stanzas`.
        load: the load; `window` is that of all streams together, `kind` is not looked at.
        streams: where messages are written, and where they arrive.
        from_file: domains of the senders, one a line.
        to_file: domains of the recipients, one a line.
        on_event: told `measuring` and `measured`.

    Returns:
        the result object; `success` counts what arrived, `failure` what came back as an error.

    Raises:
        RuntimeError: the generator failed; with what it said.
    """
    command = [
        str(program), "--from-file", str(from_file), "--to-file", str(to_file), "--window", str(load.window),
        "--rate", str(load.rate), "--seconds", str(load.seconds), "--warmup", str(load.warmup),
        "--addresses", str(load.addresses), "--drain", str(load.drain), "--body", str(load.body),
    ]  # fmt: skip
    fds = set()
    for word in ("senders", "receivers", "answers", "imx"):
        numbers = [one.fileno() for one in getattr(streams, word)]
        fds.update(numbers)
        if numbers:
            command += [f"--{word}", ",".join(map(str, numbers))]
    return _run(command, sorted(fds), on_event)


def _run(command: list[str], fds: Sequence[int], on_event: Callable[[str], None]) -> dict[str, Any]:
    result: dict[str, Any] = {}
    with subprocess.Popen(
        command, pass_fds=fds, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as child:
        assert child.stdout is not None
        assert child.stderr is not None
        for line in child.stdout:
            said = json.loads(line)
            if said["event"] == "result":
                result = said
            else:
                on_event(said["event"])
        words = child.stderr.read()
    if child.returncode or not result:
        raise RuntimeError(f"the load generator ended with {child.returncode}: {words.strip()} {result}")
    return result


@contextlib.contextmanager
def plain_forwarder(to_port: int) -> Iterator[tuple[int, int]]:
    """Run the plain forwarder to a port of 127.0.0.1; gives its port and its process id."""
    command = [sys.executable, "-m", "tests.bench.plain_forwarder", "0", str(to_port)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as child:
        try:
            assert child.stdout is not None
            yield int(child.stdout.readline()), child.pid
        finally:
            child.kill()


@contextlib.contextmanager
def haproxy(to_port: int, work_dir: Path, certificate: Path | None = None) -> Iterator[tuple[int, int]]:
    """Run HAProxy as a forwarder to a port of 127.0.0.1; gives its port and its process id.

    With a certificate (and its key, in one file) it takes TLS, and forwards what was in it.

    Raises:
        NoTool: it is not installed, or does not start.
    """
    program = shutil.which("haproxy", path=f"{os.environ.get('PATH', '')}:/usr/sbin:/usr/local/sbin")
    if program is None:
        raise NoTool("HAProxy is not installed: apt install haproxy")
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    config = work_dir / "haproxy.cfg"
    text = (HERE / ("haproxy_tls.cfg" if certificate else "haproxy.cfg")).read_text()
    text = text.replace("{listen_port}", str(port)).replace("{to_port}", str(to_port))
    config.write_text(text.replace("{certificate}", str(certificate)))
    with subprocess.Popen([program, "-db", "-q", "-f", str(config)]) as child:
        try:
            wait_for(("127.0.0.1", port), child, "HAProxy")
            yield port, child.pid
        finally:
            child.kill()


def wait_for(
    endpoint: tuple[str, int],
    child: subprocess.Popen[bytes],
    name: str,
    seconds: float = START_S,
    output: Path | None = None,
) -> None:
    """Wait until a program listens; the connection made to find out is closed again.

    Args:
        endpoint: address and port.
        child: the program; nobody waits for one that has ended.
        name: of the program, for people.
        seconds: how long.
        output: the file that it writes to, whose end is told.

    Raises:
        NoTool: it does not listen.
    """
    end_s = time.monotonic() + seconds
    while time.monotonic() < end_s and child.poll() is None:
        with contextlib.suppress(OSError), socket.create_connection(endpoint, timeout=1):
            return
        time.sleep(0.02)
    said = f": {output.read_text(errors='replace')[-500:]}" if output is not None else ""
    raise NoTool(f"{name} does not listen on {endpoint[0]} port {endpoint[1]} within {seconds:g} s{said}")


def joined(
    port: int, accepting: socket.socket, count: int
) -> tuple[list[socket.socket], list[socket.socket]]:
    """Open connections through a forwarder; gives both ends of each, in the same order.

    Args:
        port: where the forwarder listens.
        accepting: the socket to which it forwards.
        count: how many.
    """
    accepting.settimeout(START_S)
    senders, responders = [], []
    for number in range(count):
        sender = socket.create_connection(("127.0.0.1", port), timeout=START_S)
        sender.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        mark = number.to_bytes(8, "big")
        sender.sendall(mark)
        senders.append(sender)
        responders.append(_accept_marked(accepting, mark))
    return senders, responders


def _accept_marked(accepting: socket.socket, mark: bytes) -> socket.socket:
    """Take the connection that carries a mark; one that ends without (a probe) is dropped."""
    while True:
        end, _ = accepting.accept()
        end.settimeout(START_S)
        end.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        if end.recv(len(mark), socket.MSG_WAITALL) == mark:
            return end
        end.close()
