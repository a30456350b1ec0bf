"""Rows of the mapping that nothing in the code holds yet: none."""

from __future__ import annotations

from typing import Final

#: A row that is written before its code is named here until then; one of these that holds fails.
NOT_YET: Final[frozenset[str]] = frozenset()
