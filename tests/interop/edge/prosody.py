"""Prosody: its configuration, and how it is started, asked and ended."""

from __future__ import annotations

import socket
from pathlib import Path
from typing import Final

from tests.interop.edge import component_page
from tests.interop.edge.authority import Authorities
from tests.interop.edge.log import Log
from tests.interop.edge.names import DIRECT_TLS_PORT, PASSWORD, Mode, Side
from tests.interop.netlab import Place, Program, program, run

#: Where clients log in.
CLIENT_PORT: Final = 5222

_HEAD: Final = """\
run_as_root = true
pidfile = "{where}/prosody.pid"
data_path = "{where}/data"
certificates = "{where}/certs"
log = {{ {{ levels = {{ min = "debug" }}, to = "console" }} }}
interfaces = {{ "{address}" }}
http_ports = {{}}
https_ports = {{}}
modules_enabled = {{
    "roster", "saslauth", "disco", "ping", "posix", "s2s", "c2s", "tls", "dialback",
    "vcard4", "vcard_legacy", "pep", "smacks", "carbons", "admin_shell",
}}
authentication = "internal_plain"
allow_unencrypted_plain_auth = true
c2s_require_encryption = false
s2s_direct_tls_ports = {{ {tls_port} }}
-- what hosts say for themselves follows; these two are read for the whole server only
s2s_require_encryption = false
s2s_secure_auth = false
s2s_secure_domains = {{ {secure} }}
s2s_timeout = 5
network_settings = {{ connect_timeout = 3 }}
unbound = {{ options = {{ ["cache-max-negative-ttl:"] = "1", ["infra-host-ttl:"] = "1" }} }}
ssl = {{ cafile = "{trusted}", capath = false }}
"""

#: What makes a host prove itself, and ask for proof, in its way.
_HOST: Final = {
    Mode.CLEAR: '  modules_disabled = { "tls" }\n',
    Mode.TLS: "  s2s_require_encryption = true\n",
    Mode.EXTERNAL: '  s2s_require_encryption = true\n  modules_disabled = { "dialback" }\n',
}


class Prosody:
    """A Prosody.

    Args:
        side: its hosts and addresses.
        place: the namespace that it runs in.
        where: a directory to make for its files.
        authorities: who issues its certificates.
    """

    def __init__(self, side: Side, place: Place, where: Path, authorities: Authorities) -> None:
        self.side = side
        self.place = place
        self.log = Log(where / "prosody.log")
        self._where = where
        self._config = where / "prosody.cfg.lua"
        self._program: Program | None = None
        (where / "data").mkdir(parents=True)
        (where / "certs").mkdir()
        for host, mode in side.hosts.items():
            authorities.for_host(host, mode).write(where / "certs", host)
        self._config.write_text(self._text(authorities))

    def _text(self, authorities: Authorities) -> str:
        strict = [host for host in _peers_of(self.side) if host.startswith(Mode.EXTERNAL)]
        text = _HEAD.format(
            where=self._where,
            address=self.side.server,
            tls_port=DIRECT_TLS_PORT,
            secure=", ".join(f'"{host}"' for host in strict),
            trusted=authorities.trusted,
        )
        for host, mode in self.side.hosts.items():
            text += f'VirtualHost "{host}"\n{_HOST[mode]}'
            text += '  modules_enabled = { "s2s_bidi" }\n' if host in self.side.bidi.values() else ""
            # a room is a host of its own: it takes the way of its house
            text += f'Component "conference.{host}" "muc"\n{_HOST[mode]}  muc_room_locking = false\n'
            text += '  modules_enabled = { "muc_mam" }\n'
        said = component_page.server_block("lua").replace("10.0.0.5", self.side.server).split("\n\n")[0]
        text = f'{said}\n{text}VirtualHost "{self.side.joined}"\n{_HOST[Mode.CLEAR]}'
        for name in self.side.components:
            text += component_page.prosody_component(name) + "\n"
        text += f'VirtualHost "{self.side.gated}"\n{_HOST[Mode.CLEAR]}'
        text += f'Component "conference.{self.side.gated}" "muc"\n  muc_room_locking = false\n'
        return text + component_page.prosody_component(self.side.gateway, gateway=True) + _HOST[Mode.CLEAR]

    # -- life --------------------------------------------------------------------------------------------

    def start(self) -> None:
        """Start it; `ready` waits."""
        command = [program("prosody"), "-F", "--config", str(self._config)]
        self._program = Program("prosody", self.place.command(*command), self.log.path)

    @property
    def program(self) -> Program:
        """Its process."""
        assert self._program is not None
        return self._program

    def ready(self) -> None:
        """Wait until clients can log in."""
        self.program.until(self._takes_clients, "takes clients")

    def _takes_clients(self) -> bool:
        def connect() -> bool:
            try:
                socket.create_connection((self.side.server, CLIENT_PORT), 1).close()
            except OSError:
                return False
            return True

        return self.place.inside(connect)

    def kill(self) -> None:
        """End it as kill -9 does."""
        if self._program is not None:
            self._program.kill()

    def stop(self) -> int:
        """End it in order; returns its exit code."""
        assert self._program is not None
        self._program.ask_to_end()
        return self._program.ended()

    # -- asking it ---------------------------------------------------------------------------------------

    def register(self, user: str, host: str) -> None:
        """Make an account."""
        run(*self._ctl("register", user, host, PASSWORD))

    def close_streams(self) -> None:
        """End all streams with other servers."""
        done = run(*self._ctl("shell", "s2s:closeall()"), check=False)
        # it fails where there is nothing to close
        assert done.returncode == 0 or "No sessions to close" in done.stdout + done.stderr, done

    def _ctl(self, *arguments: str) -> list[str]:
        return self.place.command(program("prosodyctl"), "--config", str(self._config), *arguments)


def _peers_of(side: Side) -> list[str]:
    """The hosts whose servers must show a good certificate: Prosody is told whose, not asked by whom."""
    return [host for name in "pe" if name != side.name for host in Side(name, "", "").hosts]
