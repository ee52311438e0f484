"""gformer: models generated for each target batch (GeneralizeFormer, WACV 2025, arXiv 2502.12195).

`import gformer_cli as gformer` has the Python interface, which `docs/how-to/python.md` tells of: `load`, `wrap`,
`Model`, `Result` and the errors. It is imported when it is asked for: the command line answers --help without torch.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from gformer_cli.errors import GformerError, InputError, WorkError
    from gformer_cli.python import Model, Result, load, wrap

__version__ = "0.2.0"
__all__ = ["GformerError", "InputError", "Model", "Result", "WorkError", "__version__", "load", "wrap"]

_HOMES = {
    **dict.fromkeys(("GformerError", "InputError", "WorkError"), "gformer_cli.errors"),
    **dict.fromkeys(("Model", "Result", "load", "wrap"), "gformer_cli.python"),
}


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(_HOMES[name]), name)


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
