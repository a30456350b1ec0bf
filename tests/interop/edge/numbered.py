"""Numbered messages while things fail, and what became of each: the book, and the rules that it is judged by.

Between alice (behind the router), carol (in the router) and bob (on the net), all ways at once. A message of
carol's has one outcome, told by her router. One of alice's or bob's has none in XMPP: it arrives, or an error
comes back with its id; neither, where a server by others lost it.
"""

from __future__ import annotations

import itertools
import json
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, Final, Self

import pytest

from imxrouter.admin.errors import AdminError
from imxrouter.model.errors import RouterError
from tests.interop.edge.clients import Account, Stanza, bare, text_of
from tests.interop.edge.failing import Laboratory
from tests.interop.netlab import wait_until

#: Messages of each way in a second.
RATE: Final = 10.0
#: Of carol's that wait for their outcome at one time.
_WAITING: Final = 200
#: From -> to.
WAYS: Final = (
    ("alice", "carol"), ("carol", "alice"), ("alice", "bob"), ("bob", "alice"), ("carol", "bob"),
    ("bob", "carol"),
)  # fmt: skip
#: Tells the numbers of one talk from those of all others.
_TALKS: Final = itertools.count(1)
#: Until a message has left the server of its sender.
_ON_ITS_WAY_S: Final = 0.3
#: Conditions of an error that says: nobody knows, it may have arrived (mapping section 4.1, rows of doubt).
IN_DOUBT: Final = frozenset({"remote-server-timeout"})


@dataclass(slots=True)
class Sent:
    """One message.

    Attributes:
        number: of all of a talk.
        way: from whom, to whom.
        at: when it was sent, by `time.monotonic`.
        outcome: what carol was told; None of the others'.
    """

    number: str
    way: tuple[str, str]
    at: float
    outcome: Future[Any] | None = None


@dataclass(slots=True)
class Judged:
    """What became of the messages of a talk.

    Attributes:
        counts: by way and word.
        neither: neither arrived nor told, of XMPP's senders; each with its moment.
        lost: told as success, and not arrived.
    """

    counts: Counter[str] = field(default_factory=Counter)
    neither: list[Sent] = field(default_factory=list)
    lost: list[Sent] = field(default_factory=list)
    doubled: list[Sent] = field(default_factory=list)
    contradicted: list[str] = field(default_factory=list)


class Talk:
    """Use as a context: messages flow in it all the time, from whoever is there.

    Args:
        lab: where.
        name: a word for it.
    """

    def __init__(self, lab: Laboratory, name: str) -> None:
        self.lab, self.name = lab, name
        self._talk = next(_TALKS)
        self.sent: list[Sent] = []
        #: who cannot send now
        self.away: set[str] = set()
        self._quiet: set[str] = set()
        self._sending = threading.Lock()
        self._over = threading.Event()
        self._pool = ThreadPoolExecutor(_WAITING)
        self._thread = threading.Thread(target=self._run, name="talk", daemon=True)
        self._problems: list[BaseException] = []

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        self._thread.join()
        self._pool.shutdown(wait=True)

    def _run(self) -> None:
        turn = 0
        while not self._over.wait(1 / RATE / len(WAYS)):
            way = WAYS[turn % len(WAYS)]
            turn += 1
            try:
                with self._sending:
                    if way[0] not in self.away and way[1] not in self._quiet:
                        self._send(way)
            except BaseException as problem:  # noqa: BLE001 - told where it is judged
                self._problems.append(problem)
                return

    @contextmanager
    def nothing_to(self, name: str) -> Iterator[None]:
        """Let nobody send to a user meanwhile, and what was sent arrive or come back."""
        with self._sending:
            self._quiet.add(name)
        time.sleep(_ON_ITS_WAY_S)
        yield
        with self._sending:
            self._quiet.discard(name)

    def account(self, name: str) -> Account:
        """Alice's or bob's."""
        return self.lab.alice if name == "alice" else self.lab.bob

    def address(self, name: str) -> str:
        """The address of a user."""
        return self.lab.carol if name == "carol" else self.account(name).address

    def _send(self, way: tuple[str, str]) -> None:
        source, to = way
        number = f"{self.name}-{self._talk}-{len(self.sent)}"
        one = Sent(number, way, time.monotonic())
        self.sent.append(one)
        if source == "carol":
            one.outcome = self._pool.submit(self._of_carol, self.address(to), number)
        else:
            self.account(source).ask("message", to=self.address(to), text=number, ident=number)

    def _of_carol(self, to: str, text: str) -> Any:
        try:
            return self.lab.router.client.send(self.lab.carol, to, text)
        except (AdminError, RouterError, OSError) as error:
            return {"status": "no router", "reason": str(error)}

    # -- what became of them -------------------------------------------------------------------------------

    def passes(self, within_s: float) -> float:
        """Wait until a message of each way arrives that was sent from now on; returns the seconds."""
        since, began = len(self.sent), time.monotonic()

        def found() -> bool:
            mine, arrived = self.sent[since:], self.arrived()
            return {one.way for one in mine if arrived[one.number]} == set(WAYS)

        wait_until(found, "messages pass in all ways", within_s)
        return time.monotonic() - began

    def arrived(self) -> Counter[str]:
        """How often each number has arrived."""
        texts = [
            text for name in ("alice", "bob") for text in map(text_of, self.account(name).received) if text
        ]
        return Counter(texts) + self.lab.router.read_by_carol()

    def errors(self) -> dict[str, list[str]]:
        """Conditions of the errors that came back, by number."""
        found: dict[str, list[str]] = {}
        for name in ("alice", "bob"):
            for one in self.account(name).received:
                if one.get("type") == "error" and one.tag.endswith("}message"):
                    found.setdefault(str(one.get("id")), []).append(_condition(one))
        return found

    def until_told(self, within_s: float) -> None:
        """Wait until each message has arrived or is known not to have: so long at most, for some are lost."""
        until = time.monotonic() + within_s
        while time.monotonic() < until:
            judged = self.judge()
            if not judged.neither and not judged.lost:
                return
            time.sleep(0.1)

    def judge(self) -> Judged:
        """Compare both sides' books; to be called when all is quiet again."""
        assert not self._problems, self._problems
        arrived, errors, judged = self.arrived(), self.errors(), Judged()
        for one in self.sent:
            times = arrived[one.number]
            if times > 1:
                judged.doubled.append(one)
            if one.outcome is not None:
                word = self._judge_told(one, times, judged)
            else:
                word = self._judge_untold(one, times, errors.get(one.number, []), judged)
            judged.counts[f"{one.way[0]}>{one.way[1]} {word}"] += 1
        return judged

    @staticmethod
    def _judge_told(one: Sent, times: int, judged: Judged) -> str:
        assert one.outcome is not None
        status = one.outcome.result()["status"]
        if status == "success" and not times:
            judged.lost.append(one)
        if status == "failure" and times:
            judged.contradicted.append(f"{one.number} arrived: {one.outcome.result()}")
        return f"{status}{'' if times else ', not arrived'}"

    @staticmethod
    def _judge_untold(one: Sent, times: int, errors: list[str], judged: Judged) -> str:
        if len(errors) > 1:
            judged.contradicted.append(f"{one.number} has {len(errors)} errors: {errors}")
        if not errors and not times:
            judged.neither.append(one)
        if times and errors and not IN_DOUBT.issuperset(errors):
            judged.contradicted.append(f"{one.number} arrived, and: {errors}")
        return "arrived" * bool(times) + "".join(f" {error}" for error in errors) or "neither"


def _condition(error: Stanza) -> str:
    found = error.find("{*}error")
    names = [] if found is None else [child.tag.partition("}")[2] for child in found]
    return names[0] if names else "?"


class Sees:
    """Presence: what everybody says of himself, and what the others are shown of it.

    Args:
        lab: where.
    """

    def __init__(self, lab: Laboratory) -> None:
        self.lab = lab
        self.said: dict[str, str] = {}
        self._number = 0

    def agree(self) -> None:
        """Everybody may see everybody, and does."""
        lab = self.lab
        carol = lab.router.client.user(lab.carol)
        for one in (lab.alice, lab.bob):
            one.ask("presence")
            carol.decide(one.address, "allow")
            one.ask("presence", to=lab.carol, kind="subscribe")
            carol.subscribe(one.address)
            one.until(_presence(lab.carol, "subscribe"), "carol's wish")
            one.ask("presence", to=lab.carol, kind="subscribed")
        for one, other in ((lab.alice, lab.bob), (lab.bob, lab.alice)):
            one.ask("presence", to=other.address, kind="subscribe")
            other.until(_presence(one.address, "subscribe"), "a wish")
            other.ask("presence", to=one.address, kind="subscribed")
            one.until(_presence(other.address, "subscribed"), "a consent")
        self.asked = self.wishes()

    def wishes(self) -> int:
        """How often alice and bob were asked for an approval."""
        accounts = (self.lab.alice, self.lab.bob)
        return sum(one.get("type") == "subscribe" for each in accounts for one in each.received)

    def change(self, *names: str) -> None:
        """Let these say something new."""
        self._number += 1
        for name in names or ("alice", "bob", "carol"):
            word = self.said[name] = f"{name} {self._number}"
            if name == "carol":
                notes = [{"text": word, "language": ""}]
                state = {"instance": "desk", "status": "away", "notes": notes}
                self.lab.router.client.user(self.lab.carol).publish(state)
            else:
                account = self.lab.alice if name == "alice" else self.lab.bob
                account.ask("presence", show="away", status=word)

    def shown(self) -> dict[tuple[str, str], str]:
        """What each is shown of each other one: his words, `unavailable`, `unknown`, or nothing."""
        lab = self.lab
        found = {}
        for name, account in (("alice", lab.alice), ("bob", lab.bob)):
            other = lab.bob if name == "alice" else lab.alice
            for whom, address in (
                ("carol", lab.carol),
                ("bob" if other is lab.bob else "alice", other.address),
            ):
                found[(name, whom)] = newest(account, address)
        views = lab.router.client.user(lab.carol).subscriptions()["subscriptions"]
        for name, account in (("alice", lab.alice), ("bob", lab.bob)):
            view = [one for one in views if one["presentity"] == account.address]
            found[("carol", name)] = json.dumps([one["presence"] for one in view])
        return found

    def wrong(self) -> list[str]:
        """What is not shown as it was said."""
        try:
            shown = self.shown()
        except (AdminError, RouterError) as error:
            return [f"no router: {error}"]
        return [
            f"{who} of {whom}: {text!r}, not {self.said[whom]!r}"
            for (who, whom), text in shown.items()
            if self.said[whom] not in text
        ]

    def _received(self) -> str:
        """The last presence that alice and bob received, for who looks into a failure."""
        lines = []
        for name, account in (("alice", self.lab.alice), ("bob", self.lab.bob)):
            told = [_told(one) for one in account.received if one.tag.endswith("}presence")]
            lines += [f"{name} received {one}" for one in told[-8:]]
        return "\n".join(lines)

    def until_right(self, within_s: float) -> float:
        """Wait until everybody is shown what everybody said; returns the seconds that it took.

        Args:
            within_s: fails the test where it takes longer.
        """
        began, wrong = time.monotonic(), ["nothing was looked at"]

        def right() -> bool:
            wrong[:] = self.wrong()
            return not wrong

        try:
            wait_until(right, "presence is right", within_s)
        except pytest.fail.Exception as problem:
            pytest.fail(f"{problem}; but: {'; '.join(wrong)}\n{self._received()}")
        return time.monotonic() - began


def _told(one: Stanza) -> str:
    """A presence in short."""
    inside = [f"{child.tag.partition('}')[2]} {child.text or ''}".strip() for child in one]
    return f"{one.get('from')} {one.get('type') or 'available'} {'; '.join(inside)}"


def _presence(source: str, kind: str | None) -> Callable[[Stanza], bool]:
    def fits(one: Stanza) -> bool:
        is_presence = one.tag.endswith("}presence") and bare(one.get("from", "")) == source
        return is_presence and one.get("type") == kind

    return fits


def there(received: Sequence[Stanza], of: str) -> set[str]:
    """Resources of somebody that are available, by all that was received since a login."""
    found: set[str] = set()
    for one in received:
        source, _, resource = one.get("from", "").partition("/")
        if not one.tag.endswith("}presence") or source != of:
            continue
        kind = one.get("type")
        if kind is None:
            found.add(resource)
        elif kind in {"unavailable", "error"}:
            found = found - {resource} if resource else set()
    return found


def newest(account: Account, of: str) -> str:
    """What somebody shows of another one: the newest status of a resource that is there, else why none is."""
    shown: dict[str, str] = {}
    why = ""
    for one in account.received:
        source, _, resource = one.get("from", "").partition("/")
        kind = one.get("type")
        if not one.tag.endswith("}presence") or source != of or kind not in {None, "unavailable", "error"}:
            continue
        if resource:
            shown.pop(resource, None)
        else:
            shown.clear()
        if kind is None:
            shown[resource] = one.findtext("{*}status") or ""
        why = kind or ""
    return next(reversed(shown.values()), why)
