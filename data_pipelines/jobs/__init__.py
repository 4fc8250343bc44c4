"""Offline jobs over shards, one a file."""
