"""An exported file in onnxruntime."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch

from gformer_cli.errors import InputError, reason


class Running:
    """A graph that is loaded: from an input to its outputs by name, as tensors on the CPU.

    Raises `InputError` for a file that onnxruntime does not take.
    """

    def __init__(self, path: Path, threads: int) -> None:
        import onnxruntime

        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads, options.inter_op_num_threads = threads, 1
        options.log_severity_level = 3  # errors alone: what it cannot simplify as it loads is no news to a user
        try:
            self._session: Any = onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
        except Exception as error:  # onnxruntime has no common class of its errors
            raise InputError(
                f"onnxruntime {onnxruntime.__version__} does not load {path}: {reason(error)}",
                "Is the file whole? Else try a newer one: pip install --upgrade onnxruntime",
            ) from None
        self.names: Sequence[str] = [output.name for output in self._session.get_outputs()]

    def __call__(self, images: torch.Tensor) -> dict[str, torch.Tensor]:
        """Outputs by name for a batch of images."""
        values = self._session.run(None, {"images": np.ascontiguousarray(images.numpy())})
        return {name: torch.from_numpy(np.asarray(value)) for name, value in zip(self.names, values, strict=True)}
