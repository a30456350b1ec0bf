"""Rows of the mapping that nothing in the code holds yet; the list ends empty."""

from __future__ import annotations

from typing import Final

_ROWS: Final = """
    err-success

"""

#: By sections of the page, in their order.
NOT_YET: Final = frozenset(_ROWS.split())
