"""Demo data sets, written as image folders: real digits from inside packages, and drawings of free packages.

Adding digits is a module with a `render(seed) -> Iterator[DemoImage]` and a line in `DIGIT_SETS`; adding drawings is a
module in `drawn` with a function from `Packages` to a `PictureSet`, and a line in `PICTURE_SETS`.
"""

DIGIT_SETS = {
    "rotated-mnist": "the paper's setting: sources turned 15 to 75 degrees, targets 0 and 90",
    "digit-cameras": "an inspection line: four cameras as sources, four unseen conditions and a scanner as targets",
}
PICTURE_SETS = {
    "icons": "thirty everyday things as some eighty families of icons draw them; domains are kinds of drawing",
    "letters": "the small letters in hundreds of fonts; domains are kinds of font",
    "stickers": "animals, fruit, flowers and vehicles: drawings as sources, photographs among the targets",
}
DEMO_SETS = DIGIT_SETS | PICTURE_SETS
"""Names of the data sets and what they are."""
