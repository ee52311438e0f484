"""A model as one ONNX file: what adapts it is in the graph, so that it runs without Python and without torch.

`graphs.py` says what a file computes, `convert.py` makes the graph, `header.py` what stands beside it, `check.py`
compares it with the bundle, and `write.py` is where an export starts.
"""
