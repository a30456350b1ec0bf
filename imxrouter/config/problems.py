"""What is wrong with a configuration, in words an operator can act on."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from imxrouter.model.errors import RouterError


@dataclass(frozen=True, slots=True)
class Problem:
    """One thing that is wrong, or for a warning, surprising.

    Attributes:
        file: the file it stands in.
        path: the key, like `links.ping_s` or `domain[2].name`; empty when it is the file itself.
        what: what is wrong.
        do: what to do about it.
    """

    file: str
    path: str
    what: str
    do: str

    def __str__(self) -> str:
        place = f"{self.file}: {self.path}" if self.path else self.file
        return f"{place}: {self.what} ({self.do})"


class ConfigError(RouterError):
    """The configuration cannot be used. Carries all problems found, not only the first.

    Attributes:
        problems: at least one.
    """

    def __init__(self, problems: Sequence[Problem]) -> None:
        super().__init__("\n".join(str(problem) for problem in problems))
        self.problems = tuple(problems)
