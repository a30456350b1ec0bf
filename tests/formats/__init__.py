"""Tests of the content formats."""
