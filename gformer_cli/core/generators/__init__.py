"""Generators: from what the probe saw to the parameters of the batch.

A generator is an `nn.Module` that maps a `Probe` to `Parameters` (see `base.Generator`). Its outputs are
residuals on the source parameters, and its last projections start at zero: untrained, it is the source model.
"""

from gformer_cli.core.generators.base import Generator, Reads, Scope
from gformer_cli.core.generators.channel import ChannelGenerator
from gformer_cli.core.generators.constant import ConstantGenerator
from gformer_cli.core.generators.single_pass import SinglePass
from gformer_cli.core.generators.vector import VectorGenerator

__all__ = ["ChannelGenerator", "ConstantGenerator", "Generator", "Reads", "Scope", "SinglePass", "VectorGenerator"]
