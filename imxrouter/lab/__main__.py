"""`python -m imxrouter.lab`: from nothing to two organisations that exchange messages and presence.

`make run` starts it.
"""

from __future__ import annotations

import argparse
import signal
import sys
from collections.abc import Sequence
from types import FrameType

from imxrouter.lab.children import ChildFailed
from imxrouter.lab.presence import PresenceStory
from imxrouter.lab.scenery import AGGREGATOR, GATEWAY, NAMES, SERVES, STORY, links_of
from imxrouter.lab.screen import Screen
from imxrouter.lab.stage import Stage, StoryFailed


class _StopNowError(BaseException):
    """A signal said so. Not an `Exception`: nothing on the way may keep it."""


def _stop(_number: int, _frame: FrameType | None) -> None:
    raise _StopNowError


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the laboratory; return the exit code: 0, or 1 with the reason where a message did not cross."""
    parser = argparse.ArgumentParser(
        prog="python -m imxrouter.lab",
        description="Two organisations exchange messages and presence on this machine.",
    )
    parser.add_argument("--once", action="store_true", help="leave after the messages have crossed")
    parser.add_argument(
        "--fail", action="store_true", help="cut the other side's network after that, and show what is seen"
    )
    parser.add_argument("--keep", action="store_true", help="keep configurations and logs afterwards")
    parser.add_argument(
        "--deadline", type=float, default=60.0, metavar="S", help="for the start and each message (60)"
    )
    options = parser.parse_args(arguments)
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, _stop)
    screen = Screen()
    try:
        with Stage(screen, options.deadline, keep=options.keep, quick=options.fail) as stage:
            try:
                _run(stage, screen, PresenceStory(stage, screen, options.deadline), fail=options.fail)
                if not options.once:
                    _stay(stage, screen)
            except _StopNowError:
                screen.say("\nstopping")
            finally:
                for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
                    signal.signal(number, signal.SIG_IGN)  # a second Ctrl-C must not leave processes behind
    except (ChildFailed, StoryFailed) as error:
        screen.flush()
        screen.say(f"the laboratory failed: {error}", "bold red")
        return 1
    return 0


def _run(stage: Stage, screen: Screen, story: PresenceStory, *, fail: bool) -> None:
    screen.say(f"A laboratory in {stage.folder}", "bold")
    places = stage.places
    for role in (GATEWAY, AGGREGATOR):
        place = links_of(role, places)
        screen.say(f"  {role:<10}  {NAMES[role]:<17}  {place!s:<15}  serves {SERVES[role]}")
    screen.say(f"  {'dns':<10}  {'ns.example':<17}  {places.dns!s:<15}  knows the zone example")
    stage.start()
    for number, scene in enumerate(STORY, 1):
        screen.say(f"\n{number}. {scene.title}", "bold")
        screen.say(f'   {scene.source} to {scene.destination}: "{scene.text}"\n')
        outcome = stage.play(scene)
        screen.say(f"   delivered in {outcome['seconds'] * 1000:.1f} ms, id {outcome['id']}", "green")
    story.cross(len(STORY) + 1)
    if fail:
        story.fail(len(STORY) + 4)
    what = f"{len(STORY)} messages, a subscription, a change of state and an attribute crossed"
    screen.say(f"\n{what}, and every step was seen.", "bold green")


def _stay(stage: Stage, screen: Screen) -> None:
    screen.say("\nThe laboratory stays up. In another terminal:", "bold")
    for what, command in stage.lines_to_try():
        screen.say(f"  # {what}", "dim")
        screen.say(f"  {command}")
    screen.say("\nCut the other side's network:", "bold")
    for what, command in stage.cut_lines():
        screen.say(f"  # {what}", "dim")
        screen.say(f"  {command}")
    screen.say("\nSteps are shown here as they happen. Ctrl-C stops everything.\n", "bold")
    while True:
        stage.watch(0.5)


if __name__ == "__main__":
    sys.exit(main())
