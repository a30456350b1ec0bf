"""Who may speak on a stream: pairs of domains that are proved on it, and what was asked on it.

Proof is per pair, stream and direction (XEP-0220 section 2.6); on a bidirectional stream the inverse of a
proved pair may be used as well, and nothing more (XEP-0288 section 2.2).
"""

from __future__ import annotations

from enum import Enum
from typing import Final, TypeVar

#: Questions of ours that may be open on one stream, of each kind; the table of claims has its own bound.
ASKED_AT_MOST: Final = 4096

Pair = tuple[str, str]
_T = TypeVar("_T")


class Verdict(Enum):
    """What a stanza from somebody to somebody is on this stream."""

    GOOD = "good"
    #: nothing at all is proved on it
    NOTHING_PROVED = "nothing is proved on this stream"
    #: its sender's domain is not
    FORGED = "the sender's domain is not proved on this stream"
    #: the sender's domain is proved, to others
    OTHER_TARGET = "the sender's domain is not proved towards this domain"


_GOOD: Final = Verdict.GOOD


class Pairs:
    """The pairs of one stream.

    Attributes:
        theirs: (their domain, ours): stanzas that may come.
        ours: (our domain, theirs): stanzas that may go.
        bidi: the inverse is allowed as well.
        claimed_here: somebody made a claim on the stream, so how it is secured stays as it is.
    """

    __slots__ = ("_claims", "_speakers", "_verifies", "bidi", "claimed_here", "ours", "theirs")

    def __init__(self) -> None:
        self.theirs: set[Pair] = set()
        self.ours: set[Pair] = set()
        self.bidi = self.claimed_here = False
        #: their domains that are proved to anybody
        self._speakers: set[str] = set()
        self._claims: set[Pair] = set()
        self._verifies: set[tuple[str, str, str]] = set()

    def __bool__(self) -> bool:
        """Whether anything is proved."""
        return bool(self.theirs or self.ours)

    def prove(self, pair: Pair, *, ours: bool) -> None:
        """A pair is proved: one of ours at the other side, or one of theirs here."""
        (self.ours if ours else self.theirs).add(pair)
        self._count()

    def unprove(self, pair: Pair, *, ours: bool) -> None:
        """It is not any more."""
        (self.ours if ours else self.theirs).discard(pair)
        self._count()

    def speak_both_ways(self) -> None:
        """The stream is bidirectional from now on."""
        self.bidi = True
        self._count()

    def _count(self) -> None:
        self._speakers = {one for one, _ in self.theirs}
        if self.bidi:
            self._speakers |= {one for _, one in self.ours}

    def judge(self, from_: str, to: str) -> Verdict:
        """Say what a stanza that comes is."""
        if (from_, to) in self.theirs or (self.bidi and (to, from_) in self.ours):
            return _GOOD
        if not self._speakers:
            return Verdict.NOTHING_PROVED
        return Verdict.OTHER_TARGET if from_ in self._speakers else Verdict.FORGED

    def may_write(self, from_: str, to: str) -> bool:
        """Whether a stanza may go out on this stream."""
        return (from_, to) in self.ours or (self.bidi and (to, from_) in self.theirs)

    def coming(self) -> set[Pair]:
        """(their domain, ours) of the stanzas that may come on this stream."""
        return self.theirs | {(to, from_) for from_, to in self.ours} if self.bidi else self.theirs

    def answering(self) -> set[Pair]:
        """(their domain, ours) of what may answer the stanzas that may go, on whatever stream."""
        answers = {(to, from_) for from_, to in self.ours}
        return answers | self.theirs if self.bidi else answers

    def claimed(self, pair: Pair) -> bool:
        """A claim of ours goes out; False where too many are open."""
        if len(self._claims) >= ASKED_AT_MOST:
            return False
        self.claimed_here = True
        self._claims.add(pair)
        return True

    def asked(self, from_: str, to: str, stream_id: str) -> bool:
        """A question of ours about a key goes out; False where too many are open."""
        if len(self._verifies) >= ASKED_AT_MOST:
            return False
        self._verifies.add((from_, to, stream_id))
        return True

    def is_answer_to_claim(self, from_: str, to: str) -> bool:
        """Whether a result that came answers a claim that we made here; it does so once."""
        return _taken(self._claims, (to, from_))

    def is_answer_to_verify(self, from_: str, to: str, stream_id: str) -> bool:
        """Whether an answer about a key was asked for here; it is so once."""
        return _taken(self._verifies, (to, from_, stream_id))


def _taken(open_: set[_T], one: _T) -> bool:
    if one not in open_:
        return False
    open_.remove(one)
    return True
