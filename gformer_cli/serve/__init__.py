"""`gformer serve`: predictions over HTTP.

`batching.py` forms batches of what waits and has one thread predict them, `app.py` is what HTTP sees of it, and
`server.py` runs that until it is stopped.
"""
