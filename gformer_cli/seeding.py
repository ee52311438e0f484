"""Seeds for every random decision, derived from one number and the decision's name.

A draw depends on its name (such as the episode's number), never on how many draws came before it. That is what
makes a resumed run equal to an uninterrupted one without saving the state of any random generator.
"""

import hashlib

LARGEST_SEED = 2**31 - 1
"""A user's seed is from 0 to this, in every command: what every library here takes."""


def derive_seed(seed: int, *names: object) -> int:
    """A seed in [0, 2**63) for the decision called `names` in a run with `seed`."""
    text = "/".join(str(part) for part in (seed, *names))
    # a file name may hold bytes that are not UTF-8; Python carries them as surrogates
    data = text.encode("utf-8", "surrogateescape")
    return int.from_bytes(hashlib.sha256(data).digest()[:8], "big") >> 1
