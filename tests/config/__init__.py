"""Tests of the configuration; the files mirror its modules."""
