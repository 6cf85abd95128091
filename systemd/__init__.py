"""The units of systemd, and the user they run as."""
