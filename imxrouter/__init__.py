"""A border router for instant messages and presence between domains."""

__version__ = "0.1.0"
