"""TreeKEM: the ratchet tree of RFC 9420, and the wire format and secrets it stands on."""
