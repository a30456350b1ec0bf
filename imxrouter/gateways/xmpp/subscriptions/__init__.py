"""Presence between XMPP, which pushes it, and the model, which subscribes to it; pure."""
