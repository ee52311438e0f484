"""Kill `gformer watch` again and again: is every image predicted once, and as without kills?

    python benchmarks/watch_kill.py --model run/model.gformer --images data/targets [--count 2000] [--kills 50]

Half of the images are there at first, the others come in order while the command runs, renamed into place. The command
moves what it has predicted. It is killed with SIGKILL after a random number of batches and a random part of a second,
some times before its first batch. At last one run ends by itself, and one that nobody kills predicts the same images in
another file. Ends with status 1 unless both files hold the same images in the same batches with the same predictions.
"""

from __future__ import annotations

import argparse
import csv
import json
import multiprocessing
import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections import defaultdict
from pathlib import Path


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", type=Path, required=True)
    parser.add_argument("--images", type=Path, required=True, help="a root of domains; their images are copied")
    parser.add_argument("--count", type=int, default=2000)
    parser.add_argument("--kills", type=int, default=50)
    parser.add_argument("--batch-size", type=int, default=16)
    parser.add_argument("--forked", action="store_true", help="spare the imports at each start: fork instead")
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    multiprocessing.get_context("forkserver").set_forkserver_preload(["gformer_cli.watch.loop"])
    with tempfile.TemporaryDirectory() as folder:
        work = Path(folder)
        waiting = copies(options.images, work / "waiting", options.count)
        (work / "in").mkdir()
        killed = run_with_kills(options, work, waiting)
        finish(options, work, "in", "killed.csv", "--move-to", work / "moved")
        finish(options, work, "moved", "whole.csv")
        ours, whole = read(work / "killed.csv"), read(work / "whole.csv")
    problems = compare(ours, whole, [name for name, _ in waiting])
    print(json.dumps({"images": len(waiting), "batches": len(batches(ours)), **killed, "problems": problems}, indent=2))
    sys.exit(bool(problems))


def copies(source: Path, folder: Path, count: int) -> list[tuple[str, Path]]:
    """`count` images of all domains in turn, as (name in the watched folder, where it waits), by time."""
    domains = [sorted(path for path in domain.rglob("*.png")) for domain in sorted(source.iterdir())]
    chosen = [path for row in zip(*domains, strict=False) for path in row][:count]
    found = []
    for number, path in enumerate(chosen):
        name = f"{path.relative_to(source).parts[0]}/{number:05d}.png"
        place = folder / name
        place.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(path, place)
        os.utime(place, ns=(0, 1_700_000_000_000_000_000 + number * 1_000_000))
        found.append((name, place))
    return found


def run_with_kills(options: argparse.Namespace, work: Path, waiting: list[tuple[str, Path]]) -> dict[str, int]:
    rng = random.Random(options.seed)
    half = len(waiting) // 2
    come(work, waiting[:half])
    kills = [0]  # the feeder looks at it
    feeder = threading.Thread(target=feed, args=(work, waiting[half:], kills, options.kills), daemon=True)
    feeder.start()
    early = 0
    # so that the last kill comes while images are left
    batches_per_life = 2.0 * 0.8 * options.count / options.batch_size / options.kills
    while kills[0] < options.kills:
        life = Life(options, work, "in", "killed.csv", "--max-wait", 3600, "--move-to", work / "moved")
        if rng.random() < 0.1:
            time.sleep(rng.uniform(0.0, 3.0))
            early += 1
        else:
            wait_for_batches(life, round(rng.uniform(0.0, batches_per_life)))
            time.sleep(rng.uniform(0.0, 0.3))
        life.kill()
        kills[0] += 1
    feeder.join()
    done = len(read(work / "killed.csv"))
    return {"kills": kills[0], "kills_before_the_first_look": early, "predicted_when_last_killed": done}


def wait_for_batches(life: Life, count: int) -> None:
    """Until the command has told of so many batches, or of nothing for five seconds."""
    lines, since = 0, time.monotonic()
    while not life.ended():  # the first line says that it watches
        if (found := life.told().count("\n")) > lines:
            lines, since = found, time.monotonic()
        if lines > count or (lines and time.monotonic() - since > 5.0):
            return
        time.sleep(0.005)


def feed(work: Path, waiting: list[tuple[str, Path]], kills: list[int], total: int) -> None:
    """The images come in step with the kills, all of them by three quarters of those."""
    for number, image in enumerate(waiting):
        while number / len(waiting) > (kills[0] + 1) / (0.75 * total):
            time.sleep(0.01)
        come(work, [image])
        time.sleep(0.002)


def come(work: Path, images: list[tuple[str, Path]]) -> None:
    for name, place in images:
        (work / "in" / name).parent.mkdir(exist_ok=True)
        place.rename(work / "in" / name)


class Life:
    """One process of the command, from its start to its end; what it tells goes to a file."""

    def __init__(self, options: argparse.Namespace, work: Path, folder: str, out: str, *more: object) -> None:
        self.log = work / "log.txt"
        self.log.unlink(missing_ok=True)
        command = ["watch", work / folder, "--model", options.model, "--out", work / out]
        command += ["--batch-size", options.batch_size, "--probabilities", "--settle", 0.3, "--workers", 0, *more]
        words = [str(part) for part in command]
        self.forked = options.forked
        if options.forked:
            self.process = multiprocessing.get_context("forkserver").Process(target=forked, args=(words, self.log))
            self.process.start()
        else:
            with self.log.open("w") as log:
                self.process = subprocess.Popen([sys.executable, "-m", "gformer_cli", *words], stdout=log, stderr=log)

    def told(self) -> str:
        return self.log.read_text(encoding="utf-8") if self.log.exists() else ""

    def ended(self) -> bool:
        return not self.process.is_alive() if self.forked else self.process.poll() is not None

    def kill(self) -> None:
        if self.ended():
            raise SystemExit(f"the command ended by itself: {self.told()}")
        os.kill(self.process.pid, signal.SIGKILL)
        self.wait()

    def wait(self) -> int:
        if not self.forked:
            return self.process.wait()
        self.process.join()
        return self.process.exitcode


def forked(words: list[str], log: Path) -> None:
    """What `python -m gformer_cli` does, in a process that has imported everything already."""
    from gformer_cli.app import run

    with log.open("w") as file:
        for number in (1, 2):
            os.dup2(file.fileno(), number)
    sys.exit(run(words))


def finish(options: argparse.Namespace, work: Path, folder: str, out: str, *more: object) -> None:
    life = Life(options, work, folder, out, "--until-idle", 1, "--quiet", *more)
    if life.wait() != 0:
        raise SystemExit(f"the last run failed: {life.told()}")


def read(path: Path) -> list[dict[str, str]]:
    if not path.exists():
        return []
    with path.open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def batches(rows: list[dict[str, str]]) -> set[tuple[str, ...]]:
    found = defaultdict(list)
    for row in rows:
        found[row["batch"]].append(row["path"])
    return {tuple(paths) for paths in found.values()}


def compare(ours: list[dict[str, str]], whole: list[dict[str, str]], names: list[str]) -> list[str]:
    """What is wrong with the predictions that were made between the kills."""
    problems = []
    if sorted(row["path"] for row in ours) != sorted(names):
        twice = len(ours) - len({row["path"] for row in ours})
        problems.append(f"{len(set(names) - {row['path'] for row in ours})} images lost, {twice} predicted twice")
    if batches(ours) != batches(whole):
        problems.append(f"{len(batches(ours) ^ batches(whole))} batches differ")
    by_path = {row["path"]: {**row, "batch": ""} for row in whole}
    differ = [row["path"] for row in ours if {**row, "batch": ""} != by_path.get(row["path"])]
    if differ:
        problems.append(f"{len(differ)} predictions differ, such as {differ[0]}")
    return problems


if __name__ == "__main__":
    main()
