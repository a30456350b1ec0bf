"""Many watchers, many changes, and routers that restart under them."""
