"""The hot path: a read's records in, bytes per destination out (pure; specification sections 7 and 8)."""
