"""XMPP streams as links of the router: sockets, timers, and what joins them to the switch."""
