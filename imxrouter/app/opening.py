"""What keeps a router from starting, as one line that names the key of the configuration."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from twisted.internet.error import CannotListenError

from imxrouter.model.errors import RouterError


class CannotOpen(RouterError):
    """A directory or socket that the configuration names cannot be used."""


@contextmanager
def opening(key: str) -> Iterator[None]:
    """Name the key in what goes wrong inside.

    Raises:
        CannotOpen: with the key and the reason.
    """
    try:
        yield
    except CannotListenError as error:
        place = f"{error.interface}:{error.port}" if error.interface else error.port
        raise CannotOpen(f"{key}: cannot listen on {place}: {_why(error.socketError)}") from None
    except OSError as error:
        raise CannotOpen(f"{key}: {_why(error)}") from None
    except RouterError as error:
        raise CannotOpen(f"{key}: {error}") from None


def _why(error: object) -> str:
    if isinstance(error, OSError) and error.strerror:
        return f"{error.filename}: {error.strerror}" if error.filename else error.strerror
    return str(error)
