"""Keys from files: dial-back secrets, login keys of services, our own login key towards an uplink."""

from __future__ import annotations

import os
from collections.abc import Iterable
from pathlib import Path

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

from imxrouter.config.keys import parse_ed25519, parse_keys, read_ed25519, read_key_file, read_secret
from imxrouter.config.schema import Config
from imxrouter.config.served import Service
from imxrouter.config.trust import Uplink
from imxrouter.model.errors import RouterError
from imxrouter.transport.services import ServiceKey

#: Where a generated secret is kept; every process of the host reads the same.
KEY_FILE = "dialback.key"
SERVER_FILE = "server.id"


class StateUnusable(RouterError):
    """A file of the state directory cannot be read or written; says which and what to do."""


def dialback_secrets(config: Config) -> tuple[list[bytes], bytes]:
    """The operator's dial-back secrets, the one that signs first, and 8 bytes that name this host.

    Raises:
        StateUnusable: the state directory cannot be used.
        BadKey: a configured key is none, or its file cannot be read.
    """
    state = Path(config.state_dir)
    if config.dialback.key_file:
        secrets = [key.secret for key in read_key_file(Path(config.dialback.key_file))]
    elif config.dialback.keys:
        secrets = [key.secret for key in parse_keys(config.dialback.keys)]
    else:
        secrets = [_kept(state / KEY_FILE, 32)]
    return secrets, _kept(state / SERVER_FILE, 8)


def _kept(path: Path, size: int) -> bytes:
    """The bytes of a file of ours, made at random where it is not there; whoever comes first wins."""
    try:
        if not path.exists():  # where it is there, a full or read-only disk does no harm
            _make(path, os.urandom(size))
        kept = bytes.fromhex(path.read_text(encoding="ascii").strip())
    except (OSError, ValueError) as error:
        raise StateUnusable(f"{path}: {error}; make state_dir writable for this user") from None
    if len(kept) != size:
        raise StateUnusable(
            f"{path} holds {len(kept)} bytes, {size} are needed; remove it to have it made anew"
        )
    return kept


def _make(path: Path, secret: bytes) -> None:
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    fresh = path.with_name(f"{path.name}.{os.getpid()}")
    fresh.touch(mode=0o600)
    try:
        fresh.write_text(secret.hex() + "\n", encoding="ascii")
        os.link(fresh, path)
    except FileExistsError:
        pass
    finally:
        fresh.unlink()


def service_keys(services: Iterable[Service]) -> list[ServiceKey]:
    """What the services that are servers of ours log in with."""
    return [
        ServiceKey(
            service.name,
            Ed25519PublicKey.from_public_bytes(parse_ed25519(service.key)) if service.key else None,
            service.certificate,
        )
        for service in services
        if service.kind in {"imx", "component"}  # the latter has a secret, which is asked for elsewhere
    ]


def component_secrets(services: Iterable[Service]) -> dict[str, bytes]:
    """The secrets of the services that are components, by name.

    Raises:
        BadKey: a file cannot be read, or holds none.
    """
    return {one.name: read_secret(Path(one.secret_file)) for one in services if one.kind == "component"}


def uplink_key(path: str) -> Ed25519PrivateKey | None:
    """Our login key towards an uplink; None where no file is named.

    Raises:
        BadKey: the file cannot be read, or holds no key.
    """
    if not path:
        return None
    return Ed25519PrivateKey.from_private_bytes(read_ed25519(Path(path)))


def key_bytes(uplink: Uplink) -> bytes:
    """The bytes of our login key towards an uplink; nothing where we log in by certificate.

    Raises:
        BadKey: the file cannot be read, or holds no key.
    """
    return read_ed25519(Path(uplink.key_file)) if uplink.key_file else b""
