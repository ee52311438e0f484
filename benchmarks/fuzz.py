"""Hostile and odd input through the real readers: does anything crash, hang, get lost, or end without saying why?

    python benchmarks/fuzz.py --bundles 10000 --images 10000 --trees 10000 --seed 0

Bundles and images are changed at random, and must be read, or refused with one short line that says what is wrong.
Trees of folders are made at random, with links, depths, spellings, suffixes and formats, and it is known what is in
them: every file must be found or named as left aside, pixels and names must be right, and where a tree can be read in
several ways, it must be asked. Every 500th tree goes through `data check` and `adapt` as well.

Each case is made from the seed and its number alone, so one can be repeated: `--only bundles:417`. Cases run in a
process of their own with a limit on its memory, and on the time of each. Exit status 1 for any failure.
"""

from __future__ import annotations

import argparse
import multiprocessing
import resource
import sys
import tempfile
import time
import traceback
from collections import Counter
from collections.abc import Callable
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import torch
from fuzzing.commands import run_commands
from fuzzing.growing import make
from fuzzing.judge import complaint, judge
from fuzzing.mutations import READERS, case, tiny_bundle, unclear, whole_images
from fuzzing.pictures import Album
from fuzzing.trees import truth, write

from gformer_cli.errors import InputError, WorkError
from gformer_cli.files import remove_tree
from gformer_cli.folders.walking import DEEPEST

MEMORY = 3 << 30
"""Bytes of address space beyond those that the idle process has."""
SECONDS = 10.0
"""For one case; the machine may be busy."""
COMMANDS = 500
"""Of so many trees one goes through the real commands."""

Answer = Callable[[int], tuple[str, str]]
"""What was done for a number, and what came of it."""


def mutated(kind: str, wholes: list[bytes], seed: int, folder: Path) -> Answer:
    path = folder / ("case.gformer" if kind == "bundles" else "case.png")

    def answer(index: int) -> tuple[str, str]:
        name, data = case(kind, wholes, seed, index)
        path.write_bytes(data)
        try:
            return name, READERS[kind](path)
        except InputError as error:
            return name, unclear(error.message) or ("refused" if error.hint else f"unclear: no hint: {error.message}")
        except Exception as error:
            return name, crash(error)

    return answer


def crash(error: Exception) -> str:
    where = traceback.extract_tb(error.__traceback__)[-1]
    return f"crash: {type(error).__name__}: {str(error)[:200]} ({Path(where.filename).name}:{where.lineno})"


def trees(seed: int, folder: Path, bundle: Path | None = None) -> Answer:
    """With `bundle`, through the commands."""
    album = Album(seed)
    place = folder / "tree"

    def answer(index: int) -> tuple[str, str]:
        tree = make(seed, index, album)
        if place.exists():
            remove_tree(place)
        root = write(tree, place)
        try:
            found = run_commands(tree, root, bundle) if bundle else judge(tree, root)
            failures = list(dict.fromkeys(found))
        except (InputError, WorkError) as error:
            failures = [complaint(error, root, truth(tree, DEEPEST)) or f"refused: {error.message}"]
        except Exception as error:
            return tree.shape, crash(error)
        return tree.shape, f"wrong: {'; '.join(failures[:3])}" if failures else tree.shape

    return answer


def work(pipe: Connection, answer: Answer) -> None:
    """Answer numbers of cases with outcomes, under a limit on memory."""
    torch.set_num_threads(1)
    used = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
    resource.setrlimit(resource.RLIMIT_AS, (used + MEMORY, used + MEMORY))
    while True:
        pipe.send(answer(pipe.recv()))


def run(kind: str, answer: Answer, numbers: range, seconds: float = SECONDS) -> list[tuple[int, str]]:
    """Every case; prints what was found and returns the failures."""
    context = multiprocessing.get_context("fork")

    def start() -> tuple[Any, Connection]:
        ours, theirs = context.Pipe()
        worker = context.Process(target=work, args=(theirs, answer), daemon=True)
        worker.start()
        theirs.close()
        return worker, ours

    counts: Counter[str] = Counter()
    failures: list[tuple[int, str]] = []
    began, slowest = time.monotonic(), 0.0
    worker, pipe = start()
    for index in numbers:
        since = time.monotonic()
        try:
            pipe.send(index)
            name, found = pipe.recv() if pipe.poll(seconds) else ("?", f"hang: over {seconds:.0f} s")
        except (EOFError, OSError):
            name, found = "?", "crash: the process died"
        slowest = max(slowest, time.monotonic() - since)
        counts[found.partition(":")[0]] += 1
        if found.startswith(("crash", "hang", "unclear", "wrong")):
            failures.append((index, f"{name}: {found}"))
        if name == "?":
            worker.kill()
            worker.join()
            worker, pipe = start()
    worker.kill()
    worker.join()
    found = ", ".join(f"{name} {count}" for name, count in counts.most_common())
    print(f"{kind}: {len(numbers)} in {time.monotonic() - began:.0f} s, slowest {slowest:.2f} s: {found}")
    for index, failure in failures[:20]:
        print(ascii(f"  {kind}:{index} {failure}")[1:-1])
    sys.stdout.flush()
    return failures


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--bundles", type=int, default=10000)
    parser.add_argument("--images", type=int, default=10000)
    parser.add_argument("--trees", type=int, default=10000)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--only", metavar="KIND:NUMBER", help="one case: bundles, images, trees or commands")
    options = parser.parse_args(arguments)
    folder = Path(tempfile.mkdtemp(prefix="fuzz-"))
    try:
        bundle = tiny_bundle(folder)
        ways: dict[str, tuple[Callable[[], Answer], range, float]] = {
            "bundles": (lambda: mutated("bundles", [bundle], options.seed, folder), range(options.bundles), SECONDS),
            "images": (lambda: mutated("images", whole_images(), options.seed, folder), range(options.images), SECONDS),
            "trees": (lambda: trees(options.seed, folder), range(options.trees), SECONDS),
            "commands": (
                lambda: trees(options.seed, folder, folder / "whole.gformer"),
                range(0, options.trees, COMMANDS),
                120.0,
            ),
        }
        if options.only:
            kind, _, index = options.only.partition(":")
            name, found = ways[kind][0]()(int(index))
            print(ascii(f"{name}: {found}")[1:-1])
            return 1 if found.startswith(("crash", "unclear", "wrong")) else 0
        failures = []
        for kind, (answer, numbers, seconds) in ways.items():
            if numbers:
                failures += run(kind, answer(), numbers, seconds)
    finally:
        remove_tree(folder)
    return 1 if failures else 0


if __name__ == "__main__":
    sys.exit(main())
