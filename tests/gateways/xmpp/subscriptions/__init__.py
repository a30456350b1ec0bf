"""Subscriptions between XMPP and the model."""
