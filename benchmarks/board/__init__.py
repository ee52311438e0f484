"""The board: every method of `evaluate` on sets, streams and batch sizes that nobody tuned on.

    python -m benchmarks.board --work DIR [--full] [--set icons ...] [--seed 0 ...] [--processes N]

For each set and seed it runs the commands that a user would type: `pretrain` on the source images until validation
rises no more, `import` of the generator that comes with gformer, `evaluate` with all methods. `--recipe` adds rows of
generators that `meta-train` makes of the same source model. What is done is kept in DIR and not done again: type the
same command to go on. The table is printed at the end, or with `--show` of what is there; board.json has the whole.
"""
