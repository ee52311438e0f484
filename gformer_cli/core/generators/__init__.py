"""Generators: from what a batch shows to the parameters that it is predicted with.

A generator (`base.Generator`) turns what was `Observed` into `Residuals` on the source parameters. Its last projections
start at zero: untrained, it is the source model. `generation.py` makes θ_t of them, all at once after a probe
(`generate`), or layer by layer in a pass (`SinglePass`).
"""

from gformer_cli.core.generators.base import Generator, Observed, Reads, Residuals, Scope
from gformer_cli.core.generators.channel import ChannelGenerator
from gformer_cli.core.generators.constant import ConstantGenerator
from gformer_cli.core.generators.generation import Generation, generate, generation_of
from gformer_cli.core.generators.single_pass import SinglePass
from gformer_cli.core.generators.vector import VectorGenerator

__all__ = [
    "ChannelGenerator",
    "ConstantGenerator",
    "Generation",
    "Generator",
    "Observed",
    "Reads",
    "Residuals",
    "Scope",
    "SinglePass",
    "VectorGenerator",
    "generate",
    "generation_of",
]
