"""What people write today for the same work; needs the extra `bench`."""
