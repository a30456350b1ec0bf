"""A changed configuration, taken by a router that goes on: read, compared, prepared, applied."""
