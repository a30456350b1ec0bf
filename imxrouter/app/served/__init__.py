"""The domains served here and their users: made, changed while the router runs, and kept."""
