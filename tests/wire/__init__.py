"""The wire: records, fields, framing, the link's own records, captured streams."""
