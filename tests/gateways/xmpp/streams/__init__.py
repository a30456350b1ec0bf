"""Tests of XMPP streams as links."""
