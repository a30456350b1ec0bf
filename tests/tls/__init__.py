"""Tests of the room that mirrors this folder."""
