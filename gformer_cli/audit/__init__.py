"""The audit log: `records.py` says what a line holds, `writer.py` appends, `summary.py` and `replay.py` read."""
