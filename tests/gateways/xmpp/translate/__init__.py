"""The translation between XMPP and the model."""
