"""The screen: one order for the steps of several processes, and nothing else on it."""

from __future__ import annotations

import io
import json
import time

from rich.console import Console

from imxrouter.lab.places import Place, Surveyor, answers, is_free
from imxrouter.lab.screen import HOLD_BACK_S, Screen


def line(at: str, text: str, **fields: object) -> str:
    """Return a line as a router writes it."""
    head = {"time": f"2026-01-01T00:00:{at}Z", "level": "info", "namespace": "imxrouter.steps", "text": text}
    return json.dumps({**head, **fields}) + "\n"


def test_steps_are_shown_in_the_order_in_which_they_happened() -> None:
    """Whichever process's line was read first; times count from the first step of a scene."""
    out = io.StringIO()
    screen = Screen(Console(file=out, soft_wrap=True))
    screen.begin()
    screen.take("there", line("01.002500", "second", step="delivery", link=7))
    screen.take("here", line("01.000000", "first", step="accepted"))
    screen.pump(0.01)
    assert out.getvalue() == ""  # another process's line may still come
    time.sleep(HOLD_BACK_S)
    screen.pump(0.01)
    assert [line.split() for line in out.getvalue().splitlines()] == [
        ["0.0", "ms", "here", "accepted", "first"],
        ["2.5", "ms", "there", "delivery", "link", "7:", "second"],
    ]
    assert [seen.text for seen in screen.seen] == ["first", "second"]


def test_only_steps_and_troubles_are_shown() -> None:
    """Other log lines, and what is no log line, stay in the process's own log."""
    out = io.StringIO()
    screen = Screen(Console(file=out, soft_wrap=True))
    screen.take("here", "Traceback (most recent call last):\n")
    screen.take("here", line("01.0", "chatter", namespace="imxrouter.app"))
    screen.take("here", line("02.0", "trouble \x1b[31m", namespace="imxrouter.app", level="warn"))
    screen.flush()
    (shown,) = out.getvalue().splitlines()
    assert "warn" in shown
    assert "trouble \\x1b[31m" in shown


def test_two_laboratories_get_different_places() -> None:
    """The first that comes gets the standard ports where they are free, the next one gets free ports."""
    first, second = Surveyor(), Surveyor()
    try:
        one, other = first.survey(), second.survey()
        for place in (other.gateway, other.aggregator, other.dns, other.gateway_metrics):
            assert place.host == "127.0.0.1"
            assert is_free(place)
            assert not answers(place)
        mine = [one.gateway, one.aggregator, one.dns, one.gateway_metrics, one.aggregator_metrics]
        assert len(set(mine)) == 5
    finally:
        first.close()
        second.close()
    assert str(Place("127.0.0.1", 5)) == "127.0.0.1:5"
