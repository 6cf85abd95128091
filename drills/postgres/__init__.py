"""Receivers on PostgreSQL: real servers on this machine, with a standby, and what befalls them."""
