"""What `benchmarks/fuzz.py` makes and how it judges what comes of it."""
