"""A checkpoint: the state of unfinished training in a file, for --resume."""

from __future__ import annotations

import io
import textwrap
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeGuard

import torch

from gformer_cli.errors import InputError
from gformer_cli.files import atomic_path, make_folder
from gformer_cli.weights.torch_files import load_plain, unusable


@dataclass(frozen=True)
class Checkpoint:
    """The file of one training."""

    path: Path

    @property
    def exists(self) -> bool:
        """Whether that training was begun."""
        return self.path.is_file()

    def save(self, state: dict[str, Any]) -> None:
        """Write `state`, tensors and plain values, in the place of what was saved before."""
        make_folder(self.path.parent)
        with atomic_path(self.path) as temporary:
            content = io.BytesIO()  # torch.save to a file does not raise OSError
            torch.save(state, content)
            temporary.write_bytes(content.getbuffer())

    def load(self) -> dict[str, Any] | None:
        """What was saved, or None; tensors and plain values only, nothing is unpickled.

        Raises `InputError` for anything else, and for weights that are not finite.
        """
        if not self.exists:
            return None
        try:
            state = load_plain(self.path)
        except Exception as error:
            raise self._refused(error) from None
        if not isinstance(state, dict) or not isinstance(state.get("step"), int) or state["step"] < 0:
            raise self._refused("it holds no state of training")
        for part in state.values():  # state dicts; an optimizer's own is nested, and may well hold an infinite moment
            broken = unusable(part) if _is_state_dict(part) else None
            if broken is not None:
                raise self._refused(broken)
        return state

    @contextmanager
    def restoring(self) -> Iterator[None]:
        """Turn what fails on taking over its parts into an `InputError`: they are of something else."""
        try:
            yield
        except (KeyError, TypeError, ValueError, RuntimeError, AttributeError) as error:
            raise self._refused(f"it does not fit: {textwrap.shorten(str(error), 200)}") from None

    def _refused(self, what: object) -> InputError:
        return InputError(f"cannot use checkpoint {self.path}: {what}", "Start again with --overwrite.")


def _is_state_dict(part: object) -> TypeGuard[dict[str, torch.Tensor]]:
    return isinstance(part, dict) and all(isinstance(value, torch.Tensor) for value in part.values())
