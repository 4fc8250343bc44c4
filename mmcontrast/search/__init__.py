"""Indexes over embedded sets, and the questions that are asked of them."""
