"""Decisions about where operations go and who may send them: no I/O, no clock, no chance of its own."""
