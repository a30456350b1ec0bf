"""IMX records on the wire: layout, registries, decoder, encoder (specification 4 to 6)."""
