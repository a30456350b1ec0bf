"""Prosody and ejabberd as the bench runs them: one host, one component, dial-back in clear, no log.

What they do there is the nearest to a router's job: a stanza that comes on a proved stream of another domain
goes out on the stream of a component.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from tests.bench.tools import START_S, NoTool, wait_for

#: Hosted there; nobody writes to it.
HOST: Final = "hosted.bench.example"
SECRET: Final = "bench"
#: Loopback addresses of their own, so that they find port 5269 free.
PROSODY, EJABBERD, RESOLVER = "127.31.5.1", "127.31.5.2", "127.31.5.3"

_PROSODY: Final = """\
run_as_root = true
pidfile = "{folder}/prosody.pid"
data_path = "{folder}/data"
log = {{ {{ levels = {{ min = "error" }}, to = "console" }} }}
interfaces = {{ "{address}" }}
component_interfaces = {{ "{address}" }}
http_ports = {{ }} https_ports = {{ }}
modules_enabled = {{ "s2s", "dialback", "component" }}
modules_disabled = {{ "tls", "c2s", "limits" }}
s2s_require_encryption = false
s2s_secure_auth = false
VirtualHost "{host}"
Component "{component}"
  component_secret = "{secret}"
"""

_EJABBERD: Final = """\
hosts: [ {host} ]
loglevel: none
s2s_use_starttls: false
s2s_max_retry_delay: 1
modules: {{ mod_s2s_dialback: {{ }} }}
listen:
  - {{ port: 5269, ip: "{address}", module: ejabberd_s2s_in }}
  - {{ port: 5347, ip: "{address}", module: ejabberd_service, global_routes: true,
      hosts: {{ {component}: {{ password: {secret} }} }} }}
"""


@dataclass(frozen=True, slots=True)
class Running:
    """A server that runs.

    Attributes:
        name: as the table says it.
        pid: of the process that does the work.
        streams: where other servers' streams are taken.
        components: where components log in.
    """

    name: str
    pid: int
    streams: tuple[str, int]
    components: tuple[str, int]


@contextlib.contextmanager
def prosody(folder: Path, component: str) -> Iterator[Running]:
    """Run Prosody with one component.

    Raises:
        NoTool: it is not installed, does not start, or this is not root.
    """
    program = _program("prosody", "/usr/bin")
    (folder / "data").mkdir(parents=True)
    config = folder / "prosody.cfg.lua"
    words = {"folder": folder, "host": HOST, "component": component, "secret": SECRET, "address": PROSODY}
    config.write_text(_PROSODY.format(**words))
    with _started("Prosody", [program, "-F", "--config", str(config)], folder, PROSODY) as running:
        yield running


@contextlib.contextmanager
def ejabberd(folder: Path, component: str, *, one_scheduler: bool) -> Iterator[Running]:
    """Run ejabberd with one component; its schedulers do not wait in loops, which would count as work.

    Args:
        folder: of its own, empty.
        component: the component's domain.
        one_scheduler: on one core, as the router; else with as many as there are cores.

    Raises:
        NoTool: it is not installed, does not start, or this is not root.
    """
    program = _program("erl", "/usr/bin")
    beams = [str(path) for path in Path("/usr/lib").glob("*/ejabberd*/ebin")]
    if not beams:
        raise NoTool("ejabberd is not installed: apt install ejabberd")
    (folder / "spool").mkdir(parents=True)
    config = folder / "ejabberd.yml"
    words = {"host": HOST, "component": component, "secret": SECRET, "address": EJABBERD}
    config.write_text(_EJABBERD.format(**words))
    command = [
        program, "-noinput", "+sbwt", "none", "+sbwtdcpu", "none", "+sbwtdio", "none",
        *(["+S", "1:1"] if one_scheduler else []), "-pa", *beams, "-mnesia", "dir", f'"{folder}/spool"',
        "-s", "ejabberd",
    ]  # fmt: skip
    name = "ejabberd, 1 scheduler" if one_scheduler else "ejabberd"
    with _started(name, command, folder, EJABBERD, EJABBERD_CONFIG_PATH=str(config)) as running:
        yield running


def _program(name: str, where: str) -> str:
    program = shutil.which(name, path=f"{os.environ.get('PATH', '')}:{where}")
    if program is None:
        package = "ejabberd" if name == "erl" else name
        raise NoTool(f"{package} is not installed: apt install {package}")
    if os.geteuid():
        raise NoTool(f"{name} needs a resolver of its own in the bench, which takes root")
    return program


@contextlib.contextmanager
def _started(name: str, command: list[str], folder: Path, address: str, **more: str) -> Iterator[Running]:
    """Start a server with a resolv.conf of its own: both ask the machine's resolver for addresses."""
    (folder / "resolv.conf").write_text(f"nameserver {RESOLVER}\noptions timeout:1 attempts:1\n")
    mounted = 'mount --bind "$0" /etc/resolv.conf && exec "$@"'
    whole = ["unshare", "--mount", "sh", "-c", mounted, str(folder / "resolv.conf"), *command]
    environment = {**os.environ, **more, "HOME": str(folder)}
    with (
        (folder / "output").open("wb") as output,
        subprocess.Popen(
            whole, stdin=subprocess.DEVNULL, stdout=output, stderr=output, cwd=folder, env=environment
        ) as child,
    ):
        try:
            for port in (5269, 5347):
                wait_for((address, port), child, name, 3 * START_S, folder / "output")
            yield Running(name, child.pid, (address, 5269), (address, 5347))
        finally:
            child.kill()
