"""Did you mean ...? The nearest known word to one that is not known."""

from __future__ import annotations

import difflib
from collections.abc import Iterable

#: Below this likeness (0 to 1, difflib's ratio) a suggestion confuses more than it helps.
_LIKENESS = 0.6


def nearest(word: str, known: Iterable[str]) -> str | None:
    """Return the known word that is most like `word`, or None if none is near.

    A word that is the beginning of a known one, or the other way round, counts as near: `ping` and `ping_s`.
    """
    candidates = sorted(known)
    lowered = word.lower().replace("-", "_")
    found = difflib.get_close_matches(lowered, candidates, n=1, cutoff=_LIKENESS)
    if found:
        return found[0]
    prefixed = [
        c for c in candidates if len(lowered) >= 3 and (c.startswith(lowered) or lowered.startswith(c))
    ]
    return prefixed[0] if prefixed else None


def advice(word: str, known: Iterable[str]) -> str:
    """Say what to do about an unknown word: the nearest known one, or the list of all."""
    names = sorted(known)
    near = nearest(word, names)
    if near is not None:
        return f"did you mean {near!r}?"
    return "known here: " + ", ".join(names)
