"""Tests of the discovery room."""
