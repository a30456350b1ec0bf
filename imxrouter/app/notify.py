"""Telling systemd how the service is (sd_notify(3)): a datagram to the socket it names, nothing elsewhere."""

from __future__ import annotations

import os
import socket
from collections.abc import Mapping
from contextlib import suppress


def tell_supervisor(state: str, environment: Mapping[str, str] = os.environ) -> bool:
    """Send a state such as `READY=1`; returns whether somebody was told. Never raises: nobody must listen."""
    place = environment.get("NOTIFY_SOCKET", "")
    if not place.startswith(("/", "@")):
        return False
    address = "\0" + place[1:] if place.startswith("@") else place  # @: Linux's abstract namespace
    with suppress(OSError), socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as told:
        told.sendto(state.encode("utf-8"), address)
        return True
    return False
