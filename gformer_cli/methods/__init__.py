"""Ways to predict on target batches, by name. Adding one is a file here and a line in `METHODS`."""

from gformer_cli.methods.base import Method
from gformer_cli.methods.bn import BatchStatistics
from gformer_cli.methods.gformer import Gformer
from gformer_cli.methods.source import Source
from gformer_cli.methods.tent import Tent

METHODS: dict[str, type[Method]] = {
    "source": Source,
    "bn": BatchStatistics,
    "tent": Tent,
    "gformer": Gformer,
}

__all__ = ["METHODS", "Method"]
