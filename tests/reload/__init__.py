"""Reloads under load: a router process of its own, many domains, and a peer that never stops writing."""
