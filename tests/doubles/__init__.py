"""Doubles that tests share: clocks, transports, a reactor in a thread."""
