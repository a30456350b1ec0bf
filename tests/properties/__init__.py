"""What is always true, shown over simulated worlds of routers: no sockets, no clock but ours."""
