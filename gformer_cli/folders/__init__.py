"""Which image files there are: domains, classes, nesting, what is passed over. Nothing is decoded."""
