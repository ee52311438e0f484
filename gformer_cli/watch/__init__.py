"""Predict a folder as it fills, for good."""
