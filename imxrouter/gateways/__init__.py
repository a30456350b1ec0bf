"""Services behind the router, and the protocols they speak."""
