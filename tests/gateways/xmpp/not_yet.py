"""Rows of the mapping that nothing in the code holds yet; the list ends empty."""

from __future__ import annotations

from typing import Final

_ROWS: Final = """
    att-vcard-get att-vcard4-get att-fn att-vcard att-none att-no-user att-set att-presence
    att-cache att-disco-domain att-disco-user att-disco-resource att-disco-items att-caps att-ping

"""

#: By sections of the page, in their order.
NOT_YET: Final = frozenset(_ROWS.split())
