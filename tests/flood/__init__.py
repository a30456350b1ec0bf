"""Floods: what strangers, a peer and a sender may pour in while the service to others goes on."""
