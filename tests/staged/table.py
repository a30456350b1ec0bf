"""Every staged failure, in the order in which a message meets it."""

from tests.staged import passing, proving, reaching
from tests.staged.scene import Case

CASES: list[Case] = [*reaching.CASES, *proving.CASES, *passing.CASES]
