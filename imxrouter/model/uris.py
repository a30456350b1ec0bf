"""What has the form of a URI (RFC 3986 appendix A); which schemes are welcome is decided elsewhere."""

from __future__ import annotations

import re
from typing import Final

_PLAIN: Final = r"[A-Za-z0-9\-._~!$&'()*+,;=]|%[0-9A-Fa-f]{2}"
#: Scheme; authority and path, or a path alone; query; fragment.
_URI: Final = re.compile(
    r"[A-Za-z][A-Za-z0-9+.-]*:"
    rf"(?://(?:(?:{_PLAIN}|:)*@)?(?:\[[0-9A-Fa-f:.]+\]|(?:{_PLAIN})*)(?::[0-9]{{1,5}})?(?:/(?:{_PLAIN}|[:@/])*)?"
    rf"|(?!//)(?:{_PLAIN}|[:@/])+)"
    rf"(?:\?(?:{_PLAIN}|[:@/?])*)?(?:#(?:{_PLAIN}|[:@/?])*)?\Z"
)


def is_uri(text: str) -> bool:
    """Whether it is absolute, ASCII, with something after the scheme; in time linear in its length.

    An empty port (`http://a.example:/`), which RFC 3986 allows and libxml2 does not, is refused.
    """
    return _URI.match(text) is not None
