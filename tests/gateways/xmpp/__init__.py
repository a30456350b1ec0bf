"""Tests of the XMPP gateway."""
