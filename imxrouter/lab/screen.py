"""Steps of several routers in one order, as lines for people."""

from __future__ import annotations

import json
import queue
import time
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Final

from rich.console import Console
from rich.text import Text

from imxrouter.app.traffic.steps import NAMESPACE

#: How long a line is kept back, so that lines of other processes can come before it.
HOLD_BACK_S: Final = 0.15

_ROUTER_STYLES: Final = ("cyan", "magenta", "yellow")
_STEP_STYLES: Final = {
    "proved": "bold green", "delivery": "bold green", "answer": "bold green", "refused": "bold red",
    "failed": "bold red", "link": "dim",
}  # fmt: skip
_NAME_WIDTH: Final = 10
_STEP_WIDTH: Final = 15


@dataclass(frozen=True, slots=True)
class Seen:
    """One step of one router.

    Attributes:
        at: when it happened, seconds since 1970 by the machine's one clock.
        router: who.
        step: the word.
        text: the sentence.
        link: the router's number of the link; 0 where none is concerned.
    """

    at: float
    router: str
    step: str
    text: str
    link: int


class Screen:
    """Takes lines from any thread; shows them in the thread that calls `pump`.

    Attributes:
        seen: steps shown since `begin`, in order.
    """

    def __init__(self, console: Console | None = None) -> None:
        self._console = console or Console(highlight=False, soft_wrap=True)
        self._lines: queue.SimpleQueue[tuple[str, str]] = queue.SimpleQueue()
        self._kept_back: list[tuple[float, Seen]] = []
        self._styles: dict[str, str] = {}
        self._begun: float | None = None
        self._relative = False
        self.seen: list[Seen] = []

    def take(self, router: str, line: str) -> None:
        """A line of a router's log; only steps, warnings and errors are shown."""
        self._lines.put((router, line))

    def say(self, text: str = "", style: str = "") -> None:
        """Write a line of the laboratory's own."""
        self._console.print(Text(text, style=style))

    def begin(self) -> None:
        """A scene begins: from here on times count from its first step."""
        self.seen = []
        self._begun, self._relative = None, True

    def end(self) -> None:
        """The scene is over: from here on lines show the time of day."""
        self._relative = False

    def pump(self, seconds: float = 0.05) -> None:
        """Show what is due; returns after about so many seconds."""
        until = time.monotonic() + seconds
        while True:
            left = until - time.monotonic()
            try:
                router, line = self._lines.get(timeout=max(left, 0.001))
            except queue.Empty:
                pass
            else:
                self._parse(router, line)
            if time.monotonic() >= until:
                break
        self._show_due(time.monotonic() - HOLD_BACK_S)

    def flush(self) -> None:
        """Show everything that came by now."""
        self.pump(HOLD_BACK_S)
        self._show_due(time.monotonic())

    def _parse(self, router: str, line: str) -> None:
        try:
            event: dict[str, Any] = json.loads(line)
            at = datetime.fromisoformat(event["time"]).timestamp()
            step, text = str(event.get("step", "")), str(event["text"])
        except (ValueError, KeyError, TypeError):
            return  # not a log line; the process's own log has it
        if event.get("namespace") == NAMESPACE:
            seen = Seen(at, router, step, text, int(event.get("link", 0)))
        elif event.get("level") in {"warn", "error", "critical"}:
            seen = Seen(at, router, event["level"], text, 0)
        else:
            return
        self._kept_back.append((time.monotonic(), seen))

    def _show_due(self, came_before: float) -> None:
        """Show up to the last step that came early enough; what happened before it goes with it."""
        due = [seen.at for came, seen in self._kept_back if came <= came_before]
        if not due:
            return
        last = max(due)
        ready = sorted((seen for _, seen in self._kept_back if seen.at <= last), key=lambda seen: seen.at)
        self._kept_back = [kept for kept in self._kept_back if kept[1].at > last]
        for seen in ready:
            self._show(seen)

    def _show(self, seen: Seen) -> None:
        self.seen.append(seen)
        if self._begun is None:
            self._begun = seen.at
        if self._relative:
            when = f"{(seen.at - self._begun) * 1000:8.1f} ms"
        else:
            when = datetime.fromtimestamp(seen.at, UTC).astimezone().strftime("%H:%M:%S.%f")[:-4]
        place = f"link {seen.link}: " if seen.link else ""
        line = Text()
        line.append(f"{when:>11}  ", style="dim")
        line.append(f"{seen.router:<{_NAME_WIDTH}}  ", style=self._style_of(seen.router))
        line.append(f"{seen.step:<{_STEP_WIDTH}}  ", style=_STEP_STYLES.get(seen.step, "bold"))
        line.append(place + _printable(seen.text))
        self._console.print(line)

    def _style_of(self, router: str) -> str:
        return self._styles.setdefault(router, _ROUTER_STYLES[len(self._styles) % len(_ROUTER_STYLES)])


def _printable(text: str) -> str:
    return "".join(char if char.isprintable() else repr(char)[1:-1] for char in text)
