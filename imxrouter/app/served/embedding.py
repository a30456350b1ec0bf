"""An embedded service as the configuration has it."""

from __future__ import annotations

import random
import time
from collections.abc import Callable
from typing import Final

from imxrouter.app.random_ids import RandomIds
from imxrouter.config.served import Service
from imxrouter.gateways.embedded.directory import Directory
from imxrouter.gateways.embedded.register import Tools
from imxrouter.gateways.embedded.service import EmbeddedService
from imxrouter.routing.attribute_cache import AttributeCache
from imxrouter.routing.interfaces import Submit
from imxrouter.routing.rules import Defaults, Openness

#: Told to who asks for presence where each process would have one of its own.
SEVERAL_PROCESSES: Final = "presence needs a single process: see workers and listen.reuse_port"


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
