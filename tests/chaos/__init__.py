"""Real router processes under load, and everything that can go wrong between them."""
