"""XMPP servers and clients by others, in namespaces, beside our routers."""
