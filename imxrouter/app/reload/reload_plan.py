"""What a reload would do, ready to be done; and as operators see it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final

import msgspec

from imxrouter.admin.config_views import ChangeView, ConcernedView, ProblemView, ProcessView, ReloadView
from imxrouter.app.prepared import Step
from imxrouter.config.diff import Changes
from imxrouter.config.load import Loaded
from imxrouter.config.problems import Problem
from imxrouter.config.schema import Config

#: Applied; nothing to apply; the files are wrong; the files cannot be taken by a part or a process.
APPLIED: Final = "applied"
UNCHANGED: Final = "unchanged"
REFUSED: Final = "refused"
FAILED: Final = "failed"
#: Of another process, which reads other files.
APART: Final = "apart"


class Told(msgspec.Struct, frozen=True):
    """What became of it in another process."""

    result: str
    why: str = ""


@dataclass(slots=True)
class Plan:
    """What a reload would do.

    Attributes:
        loaded: what the files say; None where they are wrong.
        config: what would be in force.
        changes: what differs from what is in force.
        steps: what the owners will do.
        problems: why nothing will be done.
        result: the word for all that.
        told: what the other processes said.
    """

    loaded: Loaded | None = None
    config: Config | None = None
    changes: Changes = field(default_factory=Changes)
    steps: list[Step] = field(default_factory=list)
    problems: Sequence[Problem] = ()
    result: str = UNCHANGED
    told: Mapping[int, Told] = field(default_factory=dict)

    def view(self, file: str, process: int, *, dry_run: bool) -> ReloadView:
        """As operators see it, before anything of it is done."""
        took_place = self.changes.entries("domain")
        actions = list(took_place.values())
        here = Told(self.result, "; ".join(str(problem) for problem in self.problems))
        return ReloadView(
            result=self.result,
            dry_run=dry_run,
            file=file,
            problems=_problems(self.problems),
            warnings=_problems(self.loaded.warnings if self.loaded is not None else ()),
            changes=[
                ChangeView(
                    table=change.table, entry=change.entry, key=change.key, action=change.action,
                    before=change.before, after=change.after, applies=change.applies.value,
                )
                for change in self.changes
            ],
            domains={word: actions.count(word) for word in ("added", "removed", "changed")},
            links=[
                ConcernedView(
                    link=one.session.number, address="{}:{}".format(*one.session.remote), what=one.what
                )
                for step in self.steps
                for one in step.links
            ],
            notes=[note for step in self.steps for note in step.notes],
            processes=[
                ProcessView(process=number, result=told.result, why=told.why)
                for number, told in sorted({process: here, **self.told}.items())
            ],
        )  # fmt: skip


def _problems(found: Sequence[Problem]) -> list[ProblemView]:
    return [ProblemView(file=one.file, path=one.path, what=one.what, do=one.do) for one in found]
