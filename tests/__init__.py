"""Tests of imxrouter; the folders mirror the package."""
