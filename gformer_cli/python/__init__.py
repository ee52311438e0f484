"""The Python interface: a model that predicts batches of images. `import gformer_cli as gformer` has it all.

It prints nothing, and reads and writes no files but those that it is given.
"""

from gformer_cli.python.batching import Images
from gformer_cli.python.loading import load
from gformer_cli.python.model import Adapted, Model
from gformer_cli.python.reading import ImageReader, OneImage
from gformer_cli.python.result import Result
from gformer_cli.python.wrapping import wrap

__all__ = ["Adapted", "ImageReader", "Images", "Model", "OneImage", "Result", "load", "wrap"]
