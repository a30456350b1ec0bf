"""Name servers by others, in the foreground: their configuration and the command that starts them."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Literal

from tests.interop.netlab import program

#: An address and a port to listen on.
Endpoint = tuple[str, int]

Server = Literal["named", "knotd", "nsd"]


def authoritative(
    server: Server, where: Path, zones: Mapping[str, str], listen: Sequence[Endpoint]
) -> list[str]:
    """Write configuration and zone files; return the command that serves them.

    Args:
        server: which.
        where: an existing directory; everything the server writes goes there.
        zones: the text of each zone by its name.
        listen: addresses and ports.
    """
    for name, text in zones.items():
        (where / f"{name}.zone").write_text(text)
    config = where / f"{server}.conf"
    config.write_text(_CONFIGURATIONS[server](where, list(zones), listen))
    return [program(server), *_ARGUMENTS[server], str(config)]


def checker(server: Server, where: Path, zone: str) -> list[str]:
    """Return the command by which the server's own tool checks a zone that `authoritative` wrote."""
    file = str(where / f"{zone}.zone")
    if server == "named":
        return [program("named-checkzone"), zone, file]
    if server == "nsd":
        return [program("nsd-checkzone"), zone, file]
    return [program("knotc"), "-c", str(where / "knotd.conf"), "zone-check", zone]


def resolver(where: Path, listen: str, stubs: Mapping[str, Sequence[str]], allow: str = "") -> list[str]:
    """Write the configuration of an unbound that asks given servers for given zones; return its command.

    Args:
        where: an existing directory.
        listen: the address whose port 53 it answers at.
        stubs: addresses of the name servers of each zone.
        allow: a network that may ask besides this host.
    """
    lines = [
        "server:",
        f"  interface: {listen}@53",
        *([f"  access-control: {allow} allow"] if allow else []),
        '  username: ""',
        '  chroot: ""',
        f'  directory: "{where}"',
        '  pidfile: ""',
        "  use-syslog: no",
        '  module-config: "iterator"',
        "remote-control:",
        "  control-enable: no",
    ]
    for zone, servers in stubs.items():
        lines += ["stub-zone:", f'  name: "{zone}"', *(f"  stub-addr: {server}" for server in servers)]
    config = where / "unbound.conf"
    config.write_text("\n".join(lines) + "\n")
    return [program("unbound"), "-d", "-p", "-c", str(config)]


def signing(where: Path, zones: Mapping[str, str], port: int) -> list[str]:
    """Write the configuration of a Knot DNS that signs its zones by itself; return the command.

    Whoever is on this machine may transfer the zones.

    Args:
        where: an existing directory; everything the server writes goes there.
        zones: the text of each zone, without DNSSEC, by its name.
        port: where it answers on 127.0.0.1.
    """
    config = authoritative("knotd", where, zones, [("127.0.0.1", port)])[-1]
    text = Path(config).read_text()
    head, _, tables = text.partition("zone:\n")
    lines = ["acl:", "  - id: here", "    address: 127.0.0.1", "    action: transfer"]
    lines += ["policy:", "  - id: fast", "    algorithm: ecdsap256sha256", "    single-type-signing: on"]
    head += "".join(f"{line}\n" for line in lines)
    signed = ["zonefile-load: difference-no-serial", "journal-content: all", "acl: here"]
    signed += ["dnssec-signing: on", "dnssec-policy: fast"]
    sync = "    zonefile-sync: -1"
    tables = tables.replace(sync, "\n".join([sync, *(f"    {line}" for line in signed)]))
    Path(config).write_text(f"{head}zone:\n{tables}")
    return [program("knotd"), "-c", config]


def validator(
    where: Path, port: int, stubs: Mapping[str, int], anchors: Sequence[str], *, date: str = ""
) -> list[str]:
    """Write the configuration of an unbound that validates; return the command.

    Args:
        where: an existing directory.
        port: where it answers on 127.0.0.1.
        stubs: port on 127.0.0.1 of each zone's name server.
        anchors: DNSKEY or DS records that are trusted, in text.
        date: what it takes for today, as YYYYMMDDHHMMSS; empty: what the clock says.
    """
    (where / "anchors").write_text("".join(f"{anchor}\n" for anchor in anchors))
    lines = [
        "server:",
        f"  interface: 127.0.0.1@{port}",
        '  username: ""',
        '  chroot: ""',
        f'  directory: "{where}"',
        '  pidfile: ""',
        "  use-syslog: no",
        "  val-log-level: 2",
        "  do-not-query-localhost: no",
        '  module-config: "validator iterator"',
        f'  trust-anchor-file: "{where}/anchors"',
        *([f'  val-override-date: "{date}"'] if date else []),
        "remote-control:",
        "  control-enable: no",
    ]
    for zone, server in stubs.items():
        lines += ["stub-zone:", f'  name: "{zone}"', f"  stub-addr: 127.0.0.1@{server}"]
    config = where / "unbound.conf"
    config.write_text("\n".join(lines) + "\n")
    return [program("unbound"), "-d", "-p", "-c", str(config)]


def _named(where: Path, zones: Sequence[str], listen: Sequence[Endpoint]) -> str:
    families = {"listen-on": ".", "listen-on-v6": ":"}
    listeners = [
        f"{option} {{ none; }};"
        if not any(mark in address for address, _ in listen)
        else " ".join(
            f"{option} port {port} {{ {address}; }};" for address, port in listen if mark in address
        )
        for option, mark in families.items()
    ]
    options = [
        f'directory "{where}";',
        *listeners,
        "pid-file none;",
        f'session-keyfile "{where}/session.key";',
        "recursion no;",
        "dnssec-validation no;",
    ]
    tables = [f'zone "{zone}" {{ type primary; file "{zone}.zone"; }};' for zone in zones]
    return "\n".join(["options {", *options, "};", "controls { };", *tables, ""])


def _knot(where: Path, zones: Sequence[str], listen: Sequence[Endpoint]) -> str:
    (where / "knot").mkdir()
    places = ", ".join(f"{address}@{port}" for address, port in listen)
    lines = [
        "server:",
        f'    rundir: "{where}/knot"',
        f"    listen: [ {places} ]",
        "database:",
        f'    storage: "{where}/knot"',
        "zone:",
    ]
    for zone in zones:
        lines += [f"  - domain: {zone}", f'    storage: "{where}"', f"    file: {zone}.zone"]
        lines.append("    zonefile-sync: -1")
    return "\n".join(lines) + "\n"


def _nsd(where: Path, zones: Sequence[str], listen: Sequence[Endpoint]) -> str:
    lines = [
        "server:",
        *(f"  ip-address: {address}@{port}" for address, port in listen),
        '  username: ""',
        '  database: ""',
        '  pidfile: ""',
        f'  zonesdir: "{where}"',
        f'  xfrdfile: "{where}/xfrd"',
        f'  xfrdir: "{where}"',
        f'  zonelistfile: "{where}/list"',
        "remote-control:",
        "  control-enable: no",
    ]
    for zone in zones:
        lines += ["zone:", f"  name: {zone}", f"  zonefile: {zone}.zone"]
    return "\n".join(lines) + "\n"


_CONFIGURATIONS: dict[Server, Callable[[Path, Sequence[str], Sequence[Endpoint]], str]] = {
    "named": _named,
    "knotd": _knot,
    "nsd": _nsd,
}
_ARGUMENTS: dict[Server, list[str]] = {"named": ["-g", "-c"], "knotd": ["-c"], "nsd": ["-d", "-c"]}
