"""ejabberd: its configuration, and how it is started, asked and ended."""

from __future__ import annotations

import json
import socket
import urllib.request
from pathlib import Path
from typing import Any, Final

import pytest

from tests.interop.edge import component_page
from tests.interop.edge.authority import Authorities
from tests.interop.edge.log import Log
from tests.interop.edge.names import DIRECT_TLS_PORT, PASSWORD, Mode, Side
from tests.interop.netlab import Place, Program, program

#: Where its administration answers, in its namespace.
_API: Final = ("127.0.0.1", 5280)

#: Where components attach in TLS from the first byte.
COMPONENTS_TLS_PORT: Final = 5348

#: Hosts that ask for a certificate must not load dial-back: it switches the check of outgoing streams off.
_DIALBACK: Final[dict[str, object]] = {"modules": {"mod_s2s_dialback": {}}}

#: No node name, no cookie, no epmd: nobody else's Erlang is met. Schedulers that wait must not turn.
_ERLANG: Final = ["-noinput", "+sbwt", "none", "+sbwtdcpu", "none", "+sbwtdio", "none"]


class Ejabberd:
    """An ejabberd.

    Args:
        side: its hosts and addresses.
        place: the namespace that it runs in.
        where: a directory to make for its files.
        authorities: who issues its certificates.
    """

    def __init__(self, side: Side, place: Place, where: Path, authorities: Authorities) -> None:
        self.side = side
        self.place = place
        self.log = Log(where / "log" / "ejabberd.log")
        self._where = where
        self._program: Program | None = None
        for folder in ("spool", "log", "certs"):
            (where / folder).mkdir(parents=True)
        certificates = []
        for host, mode in side.hosts.items():
            issued = authorities.for_host(host, mode)
            certificates.append(where / "certs" / f"{host}.pem")
            certificates[-1].write_bytes(issued.key_pem + issued.chain_pem)
        issued = authorities.issue(side.joined, by=authorities.outside)
        (where / "certs" / "components.pem").write_bytes(issued.key_pem + issued.chain_pem)
        # JSON is YAML
        (where / "ejabberd.yml").write_text(
            json.dumps(_configuration(side, certificates, authorities), indent=1)
        )

    # -- life --------------------------------------------------------------------------------------------

    def start(self) -> None:
        """Start it; `ready` waits."""
        places = [str(path) for path in Path("/usr/lib").glob("*/ejabberd*/ebin")]
        if not places:
            pytest.fail("ejabberd is not installed; run ops/ci/install-peers.sh as root")
        environment = {
            "EJABBERD_CONFIG_PATH": self._where / "ejabberd.yml",
            "EJABBERD_LOG_PATH": self.log.path,
            "HOME": self._where,
        }
        command = [program("env"), *(f"{name}={value}" for name, value in environment.items())]
        command += [program("erl"), *_ERLANG, "-pa", *places]
        command += ["-mnesia", "dir", json.dumps(str(self._where / "spool")), "-s", "ejabberd"]
        self._program = Program("ejabberd", self.place.command(*command), self._where / "out.log")

    @property
    def program(self) -> Program:
        """Its process."""
        assert self._program is not None
        return self._program

    def ready(self) -> None:
        """Wait until it answers at its administration, which it starts after its listeners."""
        self.program.until(self._answers, "answers at its administration")

    def _answers(self) -> bool:
        def connect() -> bool:
            try:
                socket.create_connection(_API, 1).close()
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

    def ask(self, command: str, **arguments: object) -> Any:
        """Give it a command of its administration and return the answer."""
        url = f"http://{_API[0]}:{_API[1]}/api/{command}"

        def post() -> Any:
            asked = urllib.request.Request(url, json.dumps(arguments).encode())
            asked.add_header("Content-Type", "application/json")
            with urllib.request.urlopen(asked, timeout=20) as answer:  # noqa: S310 - of this file
                return json.load(answer)

        return self.place.inside(post)

    def register(self, user: str, host: str) -> None:
        """Make an account."""
        self.ask("register", user=user, host=host, password=PASSWORD)

    def close_streams(self) -> None:
        """End all streams with other servers."""
        self.ask("stop_s2s_connections")


def _configuration(side: Side, certificates: list[Path], authorities: Authorities) -> dict[str, Any]:
    hosts = side.hosts
    return {
        "hosts": [*hosts, side.joined, side.gated],
        "certfiles": [str(path) for path in certificates],
        "ca_file": str(authorities.trusted),
        "loglevel": "info",
        "auth_password_format": "plain",
        # after a failure it bounces for a random part of this, 300 s by default
        "s2s_max_retry_delay": 1,
        "s2s_dns_timeout": 3,
        "negotiation_timeout": 10,
        "outgoing_s2s_timeout": 3,
        "s2s_use_starttls": "required",
        "host_config": {
            host: {"s2s_use_starttls": False} for host, mode in hosts.items() if mode is Mode.CLEAR
        },
        "append_host_config": {host: _DIALBACK for host, mode in hosts.items() if mode is not Mode.EXTERNAL},
        "listen": [
            {"port": 5222, "ip": side.server, "module": "ejabberd_c2s", "starttls": True, "access": "all"},
            {"port": 5269, "ip": side.server, "module": "ejabberd_s2s_in"},
            {"port": DIRECT_TLS_PORT, "ip": side.server, "module": "ejabberd_s2s_in", "tls": True},
            component_page.ejabberd_listener(side),
            {
                **component_page.ejabberd_listener(side),
                "port": COMPONENTS_TLS_PORT,
                "tls": True,
                "certfile": str(certificates[0].with_name("components.pem")),
            },
            {
                "port": _API[1],
                "ip": _API[0],
                "module": "ejabberd_http",
                "request_handlers": {"/api": "mod_http_api"},
            },
        ],
        "acme": {"auto": False},
        "api_permissions": {"lab": {"who": {"access": {"allow": "all"}}, "what": "*"}},
        "modules": {
            "mod_roster": {},
            "mod_disco": {},
            "mod_ping": {},
            "mod_vcard": {"search": False},
            "mod_caps": {},
            "mod_pubsub": {"plugins": ["flat", "pep"]},
            "mod_muc": {"host": "conference.@HOST@", "default_room_options": {"mam": True}},
            "mod_mam": {"default": "never"},
            "mod_stream_mgmt": {},
        },
    }
