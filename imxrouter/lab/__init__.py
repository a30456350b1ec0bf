"""The laboratory: everything needed to see two organisations exchange messages on one machine."""
