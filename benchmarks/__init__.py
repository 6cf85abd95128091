"""How fast the receiver is, measured beside the bare server it is built on and beside what people write today."""
