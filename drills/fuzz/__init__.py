"""Hostile requests by the million against a receiver, and a provider whose callbacks are taken all the while."""
