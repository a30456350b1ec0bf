"""Engines of the store: memory, and SQLite behind memory."""
