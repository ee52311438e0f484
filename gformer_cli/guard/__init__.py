"""How far to trust what was generated: the rule, its signals, how it is fitted, and hostile batches to fit it on."""
