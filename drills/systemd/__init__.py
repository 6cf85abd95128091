"""A Debian of its own with systemd as its first process, in which the receiver is installed and run as the docs say."""
