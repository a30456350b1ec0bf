"""Tests of XMPP between servers."""
