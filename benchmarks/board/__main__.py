"""The command of the package's docstring."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import benchmarks.board
from benchmarks.board.plan import (
    LIMIT,
    METHODS_OF_ALL,
    MORE_STREAMS,
    QUICK,
    RECIPES,
    SEEDS,
    SETS,
    SIZES,
    STREAMS,
    UNIVERSAL,
    Board,
)
from benchmarks.board.score import OURS, REFERENCE, Scores, read
from benchmarks.board.show import document, lines
from benchmarks.board.work import Failed, Job, Places, documents, draw, jobs
from benchmarks.universal.mix import NETWORKS, packaged
from gformer_cli.data.streams import COMBINATIONS
from gformer_cli.data.streams import STREAMS as KINDS
from gformer_cli.files import write_json
from gformer_cli.methods import METHODS


def main() -> int:
    given = _arguments()
    board = Board(
        sets=[SETS[name] for name in given.set or (SETS if given.full else QUICK)],
        seeds=given.seed or SEEDS,
        streams=given.stream or (*STREAMS, *(MORE_STREAMS if given.full else ())),
        sizes=given.batch_size or SIZES,
        limit=given.limit or (None if given.full else LIMIT),
        methods=list(dict.fromkeys([REFERENCE, *OURS, *(given.method or METHODS_OF_ALL)])),
        recipes=given.recipe or [],
    )
    places = Places(given.work, given.data or given.work / "data")
    failed = 0
    if not given.show:
        try:
            for one in board.sets:
                draw(one, places)
        except Failed as error:
            print(error, file=sys.stderr)
            return 1
        failed = _work(jobs(board, places, given.weights or _weights(), given.device), given.processes)
    measured = sorted(read(documents(board, places)), key=lambda one: board.place(one.cell))
    counting = [one for one in measured if not SETS[one.cell[0]].tuned_on]
    if not counting:
        print(f"nothing of this is measured yet below {given.work}", file=sys.stderr)
        return 1
    scores = Scores(counting)
    print("\n".join(lines(board, scores)))
    aside = [one for one in measured if SETS[one.cell[0]].tuned_on]
    write_json(given.work / "board.json", document(board, scores, aside))
    return int(failed > 0)


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.board",
        description=benchmarks.board.__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--work", type=Path, required=True, metavar="DIR", help="Folder for everything.")
    parser.add_argument(
        "--data",
        type=Path,
        metavar="DIR",
        help="Folder of the sets, DIR/SET/sources and DIR/SET/targets. What is not there is drawn. Default: WORK/data.",
    )
    parser.add_argument("--full", action="store_true", help="All sets, streams and images: a day, not hours.")
    parser.add_argument("--show", action="store_true", help="Measure nothing: show what is there.")
    parser.add_argument("--set", choices=SETS, nargs="+", help=f"Default: {' '.join(QUICK)}.")
    parser.add_argument(
        "--seed",
        type=int,
        nargs="+",
        help=f"Of source models and of the order of images. Default: {' '.join(map(str, SEEDS))}.",
    )
    parser.add_argument(
        "--stream",
        choices=[*KINDS, *COMBINATIONS],
        nargs="+",
        metavar="NAME",
        help=f"As gformer evaluate --streams. Default: {' '.join(STREAMS)}.",
    )
    parser.add_argument("--batch-size", type=int, nargs="+", metavar="N", help=f"Default: {' '.join(map(str, SIZES))}.")
    parser.add_argument("--limit", type=int, metavar="N", help=f"Most images of each target. Default: {LIMIT}.")
    parser.add_argument(
        "--method",
        choices=METHODS,
        nargs="+",
        metavar="NAME",
        help="As gformer evaluate --methods; source and ours are measured in any case. Default: all that adapt "
        "convolutional networks.",
    )
    more = [name for name in RECIPES if name != UNIVERSAL]
    purposes = "; ".join(f"{name}: {RECIPES[name].purpose}" for name in more)
    parser.add_argument("--recipe", choices=more, nargs="+", help=f"More rows, by meta-train. {purposes}.")
    parser.add_argument("--weights", metavar="FILE", help="Of MobileNetV2. Default: those of an installed package.")
    parser.add_argument("--device", default="cpu", help="As gformer --device. Default: cpu.")
    parser.add_argument("--processes", type=int, default=2, help="Runs at once, each on one thread. Default: 2.")
    return parser.parse_args()


def _weights() -> str | None:
    """The ImageNet weights in a package that is installed; None: the network's library downloads them."""
    try:
        return str(packaged(*(NETWORKS["mobilenet"].weights or ())))
    except ModuleNotFoundError:
        return None


def _work(all_jobs: Sequence[Job], processes: int) -> int:
    """Do them in their order, so many at once; returns how many failed."""

    def done(job: Job) -> bool:
        try:
            job.go()
        except Failed as error:
            print(f"{job.name}: {error}", file=sys.stderr, flush=True)
            return False
        print(f"{job.name}: done", file=sys.stderr, flush=True)
        return True

    with ThreadPoolExecutor(processes) as pool:
        return sum(not well for well in pool.map(done, all_jobs))


if __name__ == "__main__":
    sys.exit(main())
