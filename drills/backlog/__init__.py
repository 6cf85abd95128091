"""The backlog drill: a million events that wait, and nobody who comes to the receiver notices."""
