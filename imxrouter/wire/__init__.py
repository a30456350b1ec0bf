"""IMX records on the wire: layout, registries, cursor, decoder, encoder (specification 4 to 6)."""
