"""From a model that was trained elsewhere to one that can be adapted."""
