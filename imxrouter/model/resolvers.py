"""Resolvers for which this router can write a file."""

from __future__ import annotations

from typing import Literal

#: `kresd`: Knot Resolver; `rpz`: a response policy zone, as BIND has it.
ResolverName = Literal["unbound", "dnsmasq", "kresd", "rpz"]
