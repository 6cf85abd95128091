"""One module per provider, and the contract they keep."""
