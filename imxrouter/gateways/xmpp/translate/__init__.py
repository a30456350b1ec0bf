"""Stanzas of XMPP and operations of the inner model, each made of the other; pure."""
