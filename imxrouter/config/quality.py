"""What is expected of peers (FCC-7): the same three keys for all of them and for each."""

from __future__ import annotations

from typing import Annotated

from imxrouter.config.fields import key
from imxrouter.config.sections import Section


class Objectives(Section, frozen=True):
    """What is expected of a peer. 0 expects nothing; in a [[peer]] it is as in [qos]."""

    availability_percent: Annotated[
        float,
        key(
            "Part of the time for which it can be reached, at least; time in which our own network was lost "
            "is left out.",
            unit="%",
            ge=0,
            le=100,
        ),
    ] = 0.0
    delivery_p99_s: Annotated[
        float,
        key(
            "Of the requests to it that are delivered 99 % are answered within this, from their write to "
            "the answer.",
            unit="s",
            ge=0,
            le=30,
        ),
    ] = 0.0
    refusals_percent: Annotated[
        float,
        key(
            "Requests to it that are not delivered, at most; what recipients decided themselves is left out.",
            unit="%",
            ge=0,
            le=100,
        ),
    ] = 0.0
