"""A small directory service, so that the router is useful alone."""
