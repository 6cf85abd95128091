"""Where events are kept: the contract, and one package per database."""
