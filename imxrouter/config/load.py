"""Text in, `Loaded` out; or `ConfigError` with every problem at once."""

from __future__ import annotations

import tomllib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePath
from typing import Any

import msgspec

from imxrouter.config import checks
from imxrouter.config.access import Access, read_lists
from imxrouter.config.attributes import attribute_faults
from imxrouter.config.folders import read_text, toml_files, unreadable
from imxrouter.config.keys import BadKey, read_ed25519, read_key_file, read_secret
from imxrouter.config.net import parse_name
from imxrouter.config.problems import ConfigError, Problem
from imxrouter.config.schema import Config
from imxrouter.config.served import DomainFile, ServedDomain
from imxrouter.config.walk import Walk
from imxrouter.model.domain import BadDomain, Domain


@dataclass(frozen=True, slots=True)
class Document:
    """One file's text.

    Attributes:
        file: its path.
        text: what it holds.
    """

    file: str
    text: str


@dataclass(frozen=True, slots=True)
class Loaded:
    """A configuration that can be used.

    Attributes:
        config: the values; paths are resolved, domains in wire form.
        warnings: what is allowed and probably not wanted.
        files: every file that was read, the main one first.
        given: the keys that the main file says, with the path of their table; entries of lists left out.
    """

    config: Config
    warnings: tuple[Problem, ...]
    files: tuple[str, ...]
    given: frozenset[str] = frozenset()


def load(path: Path | str) -> Loaded:
    """Read the main file and those of its `domains_dir`, and check them and the key files they name.

    Raises:
        ConfigError: a file cannot be read, is no TOML, or says something wrong; holds all problems.
    """
    main = read(Path(path))
    loaded = parse(main, [read(more) for more in _domain_files(main)])
    if found := [*_key_files(loaded.config, main.file), *read_lists(loaded.config.access, main.file)[1]]:
        raise ConfigError(found)
    return loaded


def read(path: Path) -> Document:
    """Read one file.

    Raises:
        ConfigError: it cannot be read, is no file, too large, or not UTF-8.
    """
    text = read_text(path)
    if isinstance(text, Problem):
        raise ConfigError([text])
    return Document(str(path), text)


def parse(main: Document, more: Sequence[Document] = ()) -> Loaded:
    """Check texts that were read already.

    Args:
        main: the main file.
        more: files of `domains_dir`, in order.

    Raises:
        ConfigError: with every problem of every file.
    """
    walk = Walk(main.file, PurePath(main.file).parent)
    data = walk.tidy(Config, _toml(main))
    lists = data.setdefault("access", {})
    lists.setdefault("dir", str(PurePath(main.file).parent / Access().dir))
    found = list(walk.problems)
    entries: list[tuple[str, str, dict[str, Any]]] = _placed(main.file, data)
    for document in more:
        inner = Walk(document.file, PurePath(document.file).parent)
        entries += _placed(document.file, inner.tidy(DomainFile, _toml(document)))
        found += inner.problems
    if found:
        raise ConfigError(found)
    given = frozenset(_given(data))
    data["domain"] = [entry for _, _, entry in entries]
    config = msgspec.convert(_wire_names(data), Config)
    placed = [(file, path, domain) for (file, path, _), domain in zip(entries, config.domains, strict=True)]
    if found := checks.problems(config, main.file, placed):
        raise ConfigError(found)
    return Loaded(
        config,
        tuple(checks.warnings(config, main.file, placed)),
        (main.file, *(document.file for document in more)),
        given,
    )


def _given(data: dict[str, Any], path: str = "") -> Iterator[str]:
    for name, value in data.items():
        here = f"{path}.{name}" if path else name
        yield here
        if isinstance(value, dict):
            yield from _given(value, here)


def _key_files(config: Config, file: str) -> Iterator[Problem]:
    """What is wrong with the files that hold keys."""
    if config.dialback.key_file:
        try:
            read_key_file(Path(config.dialback.key_file))
        except BadKey as error:
            do = "each line is ID HEX (openssl rand -hex 32); the router's user must be able to read it"
            yield Problem(file, "dialback.key_file", str(error), do)
    for n, uplink in enumerate(config.uplinks):
        if not uplink.key_file:  # it logs in by certificate; `checks` sees that there is one
            continue
        try:
            read_ed25519(Path(uplink.key_file))
        except BadKey as error:
            do = "our Ed25519 private key, in hex or base64, that the router's user can read"
            yield Problem(file, f"uplink[{n}].key_file", str(error), do)
    secrets = [(f"service[{n}]", one.secret_file) for n, one in enumerate(config.services) if one.secret_file]
    secrets += [(f"xmpp.component[{n}]", one.secret_file) for n, one in enumerate(config.xmpp.attached)]
    for path, name in secrets:
        try:
            read_secret(Path(name))
        except BadKey as error:
            do = "the secret on one line (openssl rand -hex 20), that the router's user can read"
            yield Problem(file, f"{path}.secret_file", str(error), do)


def parse_domain(data: dict[str, Any], file: str = "request") -> ServedDomain:
    """Check one served domain that comes from elsewhere, such as the administration API.

    Raises:
        ConfigError: an unknown key, a bad value or a bad name.
    """
    walk = Walk(file, PurePath())
    tidy = walk.tidy(ServedDomain, data)
    if walk.problems:
        raise ConfigError(walk.problems)
    entry = msgspec.convert(_wire_names({"domain": [tidy]})["domain"][0], ServedDomain)
    try:
        for name in (entry.name, *entry.aliases):
            parse_name(name)
    except BadDomain as error:
        raise ConfigError([Problem(file, "name", str(error), "write a domain")]) from None
    if faults := list(attribute_faults(entry)):
        raise ConfigError([Problem(file, *fault) for fault in faults])
    return entry


def _toml(document: Document) -> dict[str, Any]:
    try:
        return tomllib.loads(document.text)
    except tomllib.TOMLDecodeError as error:
        raise ConfigError(
            [
                Problem(
                    document.file, "", f"is not TOML: {error}", "correct that line; https://toml.io shows how"
                )
            ]
        ) from None


def _domain_files(main: Document) -> list[Path]:
    """List the files of `domains_dir`; a main file that is not sound yet gives none (parse says why)."""
    name = _toml(main).get("domains_dir", "domains.d")
    if not name or not isinstance(name, str):
        return []
    directory = Path(main.file).parent / name
    try:
        return toml_files(directory)
    except OSError as error:
        raise ConfigError([unreadable(directory, error)]) from None


def _placed(file: str, data: dict[str, Any]) -> list[tuple[str, str, dict[str, Any]]]:
    return [(file, f"domain[{n}]", entry) for n, entry in enumerate(data.get("domain", []))]


def _wire_names(data: dict[str, Any]) -> dict[str, Any]:
    """Bring domain names to wire form, so that tables compare equal; bad ones stay for the checks to name."""
    for section, key in (("domain", "name"), ("peer", "domain")):
        for entry in data.get(section, []):
            entry[key] = _wire_name(entry[key])
            if "aliases" in entry:
                entry["aliases"] = [_wire_name(alias) for alias in entry["aliases"]]
    for entry in data.get("xmpp", {}).get("component", []):
        entry["domains"] = [_wire_name(name) for name in entry.get("domains", [])]
        for key in ("gateway", "server_name"):
            entry[key] = _wire_name(entry.get(key, ""))
    for entry in data.get("trust", {}).get("peer", []):
        star = "*." if entry["domain"].startswith("*.") else ""
        entry["domain"] = star + _wire_name(entry["domain"].removeprefix("*."))
    return data


def _wire_name(text: str) -> str:
    try:
        return Domain.parse(text).name
    except BadDomain:
        return text
