"""Offline jobs: raw things in, shards and a manifest out."""
