"""What stands beside a receiver on a server: configurations of proxies here, units of systemd in `systemd`."""
