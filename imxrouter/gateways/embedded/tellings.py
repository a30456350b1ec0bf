"""What watchers are told of a state, made once for all to whom it is shown (pure)."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Final

from imxrouter.formats.pidf import write_pidf
from imxrouter.model.address import Address
from imxrouter.model.presence import Presence, meaning

#: Tellings that are kept: of users whose watchers are told at the same time, at most 12 KB each.
MOST: Final = 256


@dataclass(frozen=True, slots=True)
class Telling:
    """A state in the words in which it goes out.

    Attributes:
        state: of the presentity as the watcher knows him.
        digest: equal for states that mean the same.
        document: its PIDF.
        source: what it was made of.
    """

    state: Presence
    digest: bytes
    document: bytes
    source: Presence


class Tellings:
    """The last of them. A state is known by its identity, for `Instances` gives the same one again."""

    def __init__(self) -> None:
        self._made: dict[tuple[int, Address], Telling] = {}

    def of(self, state: Presence, presentity: Address) -> Telling:
        """A state as it is told.

        Args:
            state: what the watcher is shown.
            presentity: by which of the user's addresses he watches him.
        """
        key = (id(state), presentity)  # the entry holds on to the state, so that no other one is there
        made = self._made.get(key)
        if made is None:
            if len(self._made) >= MOST:
                self._made.clear()
            shown = replace(state, presentity=presentity)
            digest = hash(meaning(shown)).to_bytes(8, "big", signed=True)
            made = self._made[key] = Telling(shown, digest, write_pidf(shown), state)
        return made
