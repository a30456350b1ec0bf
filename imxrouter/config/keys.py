"""Keys as they are written in files: dial-back secrets and Ed25519 keys. Text in, bytes out.

The readers at the end are the only functions here that touch a disk.
"""

from __future__ import annotations

import base64
import binascii
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypeVar

from imxrouter.model.errors import RouterError

#: Ed25519 public keys and private seeds (RFC 8032 section 5.1.5).
ED25519_BYTES = 32

#: The dial-back token asks for 128 bits or more; 16 bytes is the floor, 32 is what we generate.
MIN_SECRET_BYTES = 16

Key = TypeVar("Key")

_KEY_ID = re.compile(r"[a-z0-9]{1,8}\Z")


class BadKey(RouterError):
    """The text is no key of the kind wanted. Never quotes the text."""


@dataclass(frozen=True, slots=True)
class DialbackKey:
    """A secret that a domain's routers share, to recognise each other's tokens.

    Attributes:
        key_id: its name for people, 1 to 8 of a-z and 0-9.
        secret: at least 16 bytes; kept out of `repr`.
    """

    key_id: str
    secret: bytes = field(repr=False)


def parse_ed25519(text: str) -> bytes:
    """Read 32 bytes written as 64 hex digits or as base64.

    Raises:
        BadKey: neither form, or another length.
    """
    bare = "".join(text.split())
    try:
        raw = bytes.fromhex(bare) if len(bare) == 2 * ED25519_BYTES else base64.b64decode(bare, validate=True)
    except (ValueError, binascii.Error):
        raise BadKey("not hexadecimal (64 digits) and not base64 (44 characters)") from None
    if len(raw) != ED25519_BYTES:
        raise BadKey(f"an Ed25519 key has {ED25519_BYTES} bytes, this has {len(raw)}")
    return raw


def parse_secret(key_id: str, hex_text: str) -> DialbackKey:
    """Check one dial-back key.

    Raises:
        BadKey: a bad id, not hexadecimal, or too short.
    """
    if not _KEY_ID.match(key_id):
        raise BadKey(f"key id {key_id[:20]!r} is not 1 to 8 of a-z and 0-9")
    try:
        secret = bytes.fromhex(hex_text.strip())
    except ValueError:
        raise BadKey(f"key {key_id!r} is not hexadecimal") from None
    if len(secret) < MIN_SECRET_BYTES:
        raise BadKey(f"key {key_id!r} has {len(secret)} bytes; at least {MIN_SECRET_BYTES} are needed")
    return DialbackKey(key_id, secret)


def parse_keys(table: Mapping[str, str]) -> tuple[DialbackKey, ...]:
    """Check a table of id -> hex. The first one signs, all are recognised.

    Raises:
        BadKey: one of them is bad.
    """
    return tuple(parse_secret(key_id, text) for key_id, text in table.items())


def parse_key_file(text: str) -> tuple[DialbackKey, ...]:
    """Read lines of `ID HEX`; empty lines and `#` comments are skipped. The first one signs.

    Raises:
        BadKey: a line is bad, an id stands twice, or there is no key at all.
    """
    found: dict[str, str] = {}
    for number, line in enumerate(text.splitlines(), 1):
        words = line.partition("#")[0].split()
        if not words:
            continue
        if len(words) != 2 or words[0] in found:
            raise BadKey(f"line {number} is not 'ID HEX', or its id stands twice")
        found[words[0]] = words[1]
    if not found:
        raise BadKey("the file holds no key")
    return parse_keys(found)


def read_key_file(path: Path) -> tuple[DialbackKey, ...]:
    """Read a dial-back key file.

    Raises:
        BadKey: as `parse_key_file`, or the file cannot be read; names the file.
    """
    return _read(path, parse_key_file)


def read_ed25519(path: Path) -> bytes:
    """Read a file that holds one Ed25519 key (hex or base64): the 32 bytes of a seed or public key.

    Raises:
        BadKey: as `parse_ed25519`, or the file cannot be read; names the file.
    """
    return _read(path, parse_ed25519)


def read_secret(path: Path) -> bytes:
    """The secret of a component, one line of text.

    Raises:
        BadKey: it has none, or more lines than one, or the file cannot be read; names the file.
    """
    return _read(path, parse_component_secret)


def parse_component_secret(text: str) -> bytes:
    """The bytes of a secret without the end of its line.

    Raises:
        BadKey: there is none, or more than one line.
    """
    secret = text.strip()
    if not secret or len(secret.splitlines()) != 1:
        raise BadKey("a secret is one line of text")
    return secret.encode()


def _read(path: Path, parse: Callable[[str], Key]) -> Key:
    try:
        return parse(path.read_text("utf-8"))
    except OSError as error:
        raise BadKey(f"{path} cannot be read: {error.strerror}") from None
    except UnicodeDecodeError:
        raise BadKey(f"{path} is not UTF-8") from None
    except BadKey as error:
        raise BadKey(f"{path}: {error}") from None
