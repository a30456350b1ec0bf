"""Tests of `imxrouter.probe`."""
