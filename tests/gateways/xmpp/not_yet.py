"""Rows of the mapping that nothing in the code holds yet; the list ends empty."""

from __future__ import annotations

from typing import Final

_ROWS: Final = """
    adr-from-missing

    msg-stanza-id

    err-strange err-success

    prs-directed prs-odd-type

    att-vcard-get att-vcard4-get att-fn att-vcard att-none att-no-user att-set att-presence
    att-cache att-disco-domain att-disco-user att-disco-resource att-disco-items att-caps att-ping

    iq-unknown iq-result iq-no-id iq-wait unk-kind unk-child

    pass-all pass-lang pass-prefix pass-sid pass-muc pass-muc-from pass-omemo pass-long for-record
    for-takes for-what for-never for-access for-envelope for-fail

    org-what org-when org-size org-off org-private org-protocol org-parse org-envelope org-same
    org-error org-else org-through org-hidden

"""

#: By sections of the page, in their order.
NOT_YET: Final = frozenset(_ROWS.split())
