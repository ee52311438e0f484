"""Training: source models, then the generator that is meta-learned over them, then its guard."""
