"""Files of `torch.save`, read without running anything: tensors and plain values, and placeholders for all else.

A pickle names classes and functions, and says with which arguments they are called. Here nothing that it names is
imported or called, whatever the name. The few functions that put a tensor together are replaced by our own; every other
name becomes an `Inert`, which takes whatever it is given and does nothing. So the tensors of a checkpoint can be had
although settings, loggers or schedulers of an unknown library lie beside them.
"""

from __future__ import annotations

import io
import os
import pickle
import pickletools
import re
import zipfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any

import torch

from gformer_cli.weights.torch_files import RefusedFile, check_archive

_MAGIC = 0x1950A86A20F9469CFC6C
"""First in a file of the old format."""
_STORAGES = {
    "DoubleStorage": torch.float64,
    "FloatStorage": torch.float32,
    "HalfStorage": torch.float16,
    "BFloat16Storage": torch.bfloat16,
    "LongStorage": torch.int64,
    "IntStorage": torch.int32,
    "ShortStorage": torch.int16,
    "CharStorage": torch.int8,
    "ByteStorage": torch.uint8,
    "BoolStorage": torch.bool,
    "ComplexFloatStorage": torch.complex64,
    "ComplexDoubleStorage": torch.complex128,
}
_HOSTILE = re.compile(
    r"(os|posix|nt)\.(system|popen|exec\w*|spawn\w*|fork\w*|startfile|kill\w*|remove\w*|unlink|rmdir|rename\w*|putenv)"
    r"|(subprocess|runpy|pty|shutil|webbrowser)\.\w+|importlib(\.\w+)*\.(import_module|__import__)"
    r"|(builtins|__builtin__)\.(eval|exec|execfile|compile|open|__import__|input|breakpoint)"
)
"""Names that no checkpoint needs. To refuse them is a courtesy: nothing is run anyway."""


class HostileFile(RefusedFile):
    """A file that would run a program if it were unpickled."""


class Inert(dict[Any, Any]):
    """Stands for an object of a class that is not known: it keeps items, and does nothing."""

    origin = ""
    """The class or function that the file names."""
    __hash__ = object.__hash__  # type: ignore[assignment]  # it may be a key

    def __new__(cls, *_: Any, **__: Any) -> Inert:
        return dict.__new__(cls)

    def __init__(self, *_: Any, **__: Any) -> None:
        super().__init__()

    def __eq__(self, other: object) -> bool:
        return self is other

    def __call__(self, *_: Any) -> Inert:
        return self

    def __setstate__(self, _: object) -> None:
        pass

    append = extend = add = __setstate__  # as it may stand for a list or a set


class _Items(dict[Any, Any]):
    """Stands for `OrderedDict`."""

    def __setstate__(self, _: object) -> None:
        pass


class _Fixed:
    """What a file may hold and pass on, and cannot change."""

    __slots__ = ()

    def __setstate__(self, _: object) -> None:
        raise RefusedFile("it changes what is no object of its own")


class _Function(_Fixed):
    """One that a file may call."""

    __slots__ = ("_call",)

    def __init__(self, call: Callable[..., Any]) -> None:
        self._call = call

    def __call__(self, *arguments: Any) -> Any:
        return self._call(*arguments)


class _Storage(_Fixed):
    """The numbers that tensors are views of, read when they are first asked for."""

    __slots__ = ("_flat", "_read")

    def __init__(self, read: Callable[[], torch.Tensor]) -> None:
        self._read = read
        self._flat: torch.Tensor | None = None

    @property
    def flat(self) -> torch.Tensor:
        if self._flat is None:
            self._flat = self._read()
        return self._flat


class Stored(_Fixed):
    """A tensor of a file, which is read when it is asked for."""

    __slots__ = ("_arguments", "_storage")

    def __init__(self, storage: _Storage, offset: int, size: tuple[int, ...], stride: tuple[int, ...]) -> None:
        if not isinstance(storage, _Storage):
            raise RefusedFile("it has a tensor without a storage")
        self._storage = storage
        self._arguments = size, stride, offset

    def dim(self) -> int:
        """How many axes it has."""
        return len(self._arguments[0])

    def tensor(self) -> torch.Tensor:
        """Raises `RuntimeError` where it reaches beyond its storage."""
        return self._storage.flat.as_strided(*self._arguments)


def _tensor(storage: _Storage, offset: int, size: tuple[int, ...], stride: tuple[int, ...], *others: Any) -> Stored:
    if others[2:] and others[2]:  # gradient, hooks, then how the numbers are to be taken
        raise RefusedFile("it has a tensor that is a conjugate or negative view")
    return Stored(storage, offset, size, stride)


def _from_type(call: Any, _: Any, arguments: tuple[Any, ...], __: Any = None) -> Any:
    return call(*arguments) if isinstance(call, _Function) else Inert()


def _parameter(data: Any, *_: Any) -> Any:
    return data


_TENSOR_FUNCTIONS: dict[tuple[str, str], Callable[..., Any]] = {
    ("torch._utils", "_rebuild_tensor"): _tensor,
    ("torch._utils", "_rebuild_tensor_v2"): _tensor,
    ("torch._utils", "_rebuild_parameter"): _parameter,
    ("torch._utils", "_rebuild_parameter_with_state"): _parameter,
    ("torch._tensor", "_rebuild_from_type_v2"): _from_type,
    ("torch", "Size"): tuple,
}


class _Unpickler(pickle.Unpickler):
    """Gives inert things for every name, and has storages made by `storage(dtype, key, count)`."""

    def __init__(self, content: bytes, storage: Callable[[torch.dtype, str, int], _Storage]) -> None:
        super().__init__(io.BytesIO(content), encoding="latin1")
        self._storage = storage
        self._classes: dict[str, type[Inert]] = {}

    def find_class(self, module: str, name: str) -> Any:
        origin = f"{module}.{name}"
        if _HOSTILE.fullmatch(origin):
            raise HostileFile(f"it calls {origin}, as a program would")
        if module == "torch" and name in _STORAGES:
            return _STORAGES[name]
        if (module, name) == ("collections", "OrderedDict"):
            return _Items
        call = _TENSOR_FUNCTIONS.get((module, name))
        if call is not None:
            return _Function(call)
        return self._classes.setdefault(origin, type("Unknown", (Inert,), {"origin": origin}))

    def persistent_load(self, pid: Any) -> Any:
        kind, *rest = pid
        if kind == "module":  # the old format's reference to a class
            return rest[0]
        dtype, key, _, count, *view = rest
        if kind != "storage" or not isinstance(dtype, torch.dtype) or any(view):
            raise RefusedFile("its numbers are of an unknown kind, as those of quantised weights are")
        return self._storage(dtype, str(key), int(count))


@contextmanager
def opened(path: Path) -> Iterator[Any]:
    """The object in `path`: containers and plain values, `Stored` for tensors and `Inert` for everything else.

    Tensors can be read inside the context. Raises `HostileFile` for one that would start a program, and many kinds of
    error for a file that is not of `torch.save`, or damaged.
    """
    if zipfile.is_zipfile(path):
        with zipfile.ZipFile(path) as archive:
            yield _zipped(archive, path)
    else:
        with path.open("rb") as stream:
            yield _old(stream)


def _zipped(archive: zipfile.ZipFile, path: Path) -> Any:
    check_archive(archive, path)
    (place,) = [name for name in archive.namelist() if name.endswith("/data.pkl") and name.count("/") == 1]
    root = place.removesuffix("data.pkl")
    if f"{root}byteorder" in archive.namelist() and archive.read(f"{root}byteorder") != b"little":
        raise RefusedFile("it was saved on a machine of another byte order")

    def storage(dtype: torch.dtype, key: str, count: int) -> _Storage:
        return _Storage(lambda: _numbers(archive.read(f"{root}data/{key}"), dtype, count))

    return _Unpickler(_checked(io.BytesIO(archive.read(place))), storage).load()


def _numbers(content: bytes, dtype: torch.dtype, count: int) -> torch.Tensor:
    if count == 0:
        return torch.empty(0, dtype=dtype)
    if not 0 < count * dtype.itemsize <= len(content):
        raise RefusedFile("it is cut short: it holds fewer numbers than it says")
    return torch.frombuffer(bytearray(content), dtype=dtype, count=count)


def _old(stream: IO[bytes]) -> Any:
    """The format before PyTorch 1.6: pickles one after another, of which the fourth is the object, then the storages.

    The storages come last, and so their types are not known but from the object.
    """

    def refuse(*_: Any) -> _Storage:
        raise RefusedFile("it has a tensor where none can be")

    if _Unpickler(_checked(stream), refuse).load() != _MAGIC:
        raise RefusedFile("torch.save did not write it")
    _checked(stream)  # the format's version
    _checked(stream)  # sizes of the machine's numbers
    content = _checked(stream)
    size = os.fstat(stream.fileno()).st_size
    found: dict[str, torch.Tensor] = {}
    wanted: dict[str, tuple[torch.dtype, int]] = {}

    def storage(dtype: torch.dtype, key: str, count: int) -> _Storage:
        wanted[key] = dtype, count
        return _Storage(lambda: found[key])

    root = _Unpickler(content, storage).load()
    for key in _Unpickler(_checked(stream), refuse).load():
        dtype, count = wanted[key]
        if int.from_bytes(stream.read(8), "little") != count:
            raise RefusedFile("it has a storage of another size than it says")
        found[key] = _numbers(stream.read(min(count * dtype.itemsize, size)), dtype, count)
    return root


def _checked(stream: IO[bytes]) -> bytes:
    """The next pickle of `stream`; raises `RefusedFile` where it would take memory for what it merely claims."""
    start = stream.tell()
    size = stream.seek(0, io.SEEK_END) - start
    stream.seek(start)
    for operation, argument, _ in pickletools.genops(stream):
        if operation.name.startswith("EXT"):
            raise RefusedFile("it names things by numbers of a registry")
        if operation.name.endswith("PUT") and int(argument or 0) > size:
            raise RefusedFile("it claims to hold more than its size")
    end = stream.tell()
    stream.seek(start)
    return stream.read(end - start)
