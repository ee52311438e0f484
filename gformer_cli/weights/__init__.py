"""Weights files: read without running them, matched with a network, or published by a library."""
