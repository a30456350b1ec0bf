"""An embedded service as the configuration has it."""

from __future__ import annotations

import os
import random
import time
from collections.abc import Callable
from typing import Final

from imxrouter.config.served import Service
from imxrouter.gateways.embedded.directory import Directory
from imxrouter.gateways.embedded.register import Tools
from imxrouter.gateways.embedded.service import EmbeddedService
from imxrouter.model.operations import MESSAGE_ID_BYTES
from imxrouter.routing.attribute_cache import AttributeCache
from imxrouter.routing.interfaces import Submit
from imxrouter.routing.rules import Defaults, Openness

#: Message ids that are asked of the system at a time.
_IDS: Final = 256
#: Told to who asks for presence where each process would have one of its own.
SEVERAL_PROCESSES: Final = "presence needs a single process: see workers and listen.reuse_port"


class RandomIds:
    """Gives random message ids; asks the system for many at a time, for that costs more than all the rest."""

    def __init__(self) -> None:
        self._left: list[bytes] = []

    def __call__(self) -> bytes:
        """One that was never given before."""
        if not self._left:
            many = os.urandom(MESSAGE_ID_BYTES * _IDS)
            self._left = [many[at : at + MESSAGE_ID_BYTES] for at in range(0, len(many), MESSAGE_ID_BYTES)]
        return self._left.pop()


def make_embedded(
    service: Service,
    submit: Submit,
    later: Callable[[Callable[[], None]], None],
    cache: AttributeCache,
    shared: bool,
) -> EmbeddedService:
    """The service of a `[[service]]` of kind `embedded`; nothing is kept yet.

    Args:
        service: its configuration.
        submit: sends an operation of one of its users.
        later: does something soon.
        cache: of attributes of others.
        shared: other processes serve the same domains, so presence is off.
    """
    tools = Tools(
        submit,
        RandomIds(),
        time.monotonic,
        time.time,
        random.SystemRandom().random,
        later,
    )
    return EmbeddedService(
        Directory(service.users), tools, defaults_of(service), cache=cache,
        presence_off=SEVERAL_PROCESSES if shared else "",
    )  # fmt: skip


def defaults_of(service: Service) -> Defaults:
    """What holds where a user of the service has no rule."""
    return Defaults(Openness(service.presence), Openness(service.messages))
