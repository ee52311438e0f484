"""Demo data sets: real digits from inside packages, written as image folders.

Adding one is a module with a `render() -> Iterator[DemoImage]` and a line in `DEMO_SETS`.
"""
