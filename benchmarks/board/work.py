"""The commands behind the board: each as a user would type it, none done twice."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks.board.plan import RECIPES, UNIVERSAL, Board, Set, answers_alone


class Failed(Exception):
    """A command that did not end well."""


@dataclass(frozen=True)
class Places:
    """The folders of a board."""

    work: Path
    data: Path

    def images(self, one: Set, role: str) -> Path:
        return self.data / one.name / role

    def run(self, one: Set, seed: int, recipe: str) -> Path:
        """The run folder: source model and bundle."""
        return self.work / "runs" / f"{one.name}+{seed}+{recipe}"

    def source(self, one: Set, seed: int, *, leave_one_out: bool) -> Path:
        """The run folder with source models alone, which recipes are copied from."""
        return self.work / "runs" / f"{one.name}+{seed}{'+leave-one-out' if leave_one_out else ''}"

    def results(self, one: Set, seed: int, recipe: str, size: int, limit: int | None) -> Path:
        """The folder of evaluations in batches of `size`: one, and one for what was asked for later."""
        images = "all" if limit is None else str(limit)
        return self.work / "results" / f"{one.name}+{seed}+{recipe}" / f"batches-of-{size}-images-{images}"


@dataclass(frozen=True)
class Job:
    """A set, a seed and a recipe: from images to results."""

    board: Board
    places: Places
    one: Set
    seed: int
    recipe: str
    weights: str | None
    device: str

    @property
    def name(self) -> str:
        return f"{self.one.name}, seed {self.seed}, {self.recipe}"

    def go(self) -> None:
        """Do what is not done yet. Raises `Failed`."""
        run = self.places.run(self.one, self.seed, self.recipe)
        if not (run / "model.gformer").is_file():
            self._make(run)
        for size in self.board.sizes:
            self._evaluate(run, size)

    def _make(self, run: Path) -> None:
        recipe, sources = RECIPES[self.recipe], self.places.images(self.one, "sources")
        models = self.places.source(self.one, self.seed, leave_one_out=recipe.leave_one_out)
        if not (models / "source.json").is_file():
            weights = [] if self.weights is None or self.one.preset == "quick" else ["--weights", self.weights]
            each = "--leave-one-out" if recipe.leave_one_out else "--no-leave-one-out"
            again = ["--resume"] if (models / "settings.yaml").is_file() else []
            self._gformer("pretrain", "--source", sources, "--out", models, "--preset", self.one.preset, each,
                          "--seed", self.seed, "--device", self.device, *weights, *again)  # fmt: skip
        if not run.is_dir():
            part = run.with_name(f"{run.name}.part")
            shutil.rmtree(part, ignore_errors=True)
            shutil.copytree(models, part)
            part.rename(run)
        if recipe.train is None:
            self._gformer("import", "--run", run, "--source", sources, "--device", self.device)
        else:
            again = ["--resume"] if (run / "checkpoints").is_dir() else []
            self._gformer("meta-train", "--source", sources, "--run", run, "--device", self.device,
                          *recipe.train, *again)  # fmt: skip

    def _evaluate(self, run: Path, size: int) -> None:
        place = self.places.results(self.one, self.seed, self.recipe, size, self.board.limit)
        known = {cell["stream"] for document in _documents(place) for cell in document["cells"]}
        missing = [stream for stream in self.board.streams if stream not in known]
        if not missing:
            return
        out, rows = place / ",".join(missing), RECIPES[self.recipe].rows
        first = size == self.board.sizes[0] and not known
        methods = [name for name in (rows or self.board.methods) if first or not answers_alone(name)]
        limit = [] if self.board.limit is None else ["--limit", self.board.limit]
        again = ["--resume"] if (out / "cells.jsonl").is_file() else ["--overwrite"]
        self._gformer("evaluate", "--model", run / "model.gformer", "--target", self.places.images(self.one, "targets"),
                      "--source", self.places.images(self.one, "sources"), "--methods", ",".join(methods),
                      "--streams", ",".join(missing), "--batch-size", size, "--seed", self.seed,
                      "--device", self.device, "--out", out, *limit, *again)  # fmt: skip

    def _gformer(self, *arguments: object) -> None:
        gformer(self.places.work / "logs" / f"{self.one.name}+{self.seed}+{self.recipe}.log", *arguments)


def _runs(board: Board) -> Iterator[tuple[Set, int, str]]:
    """Set, seed and recipe; seed by seed, so that a board that was stopped is one of all sets."""
    for recipe in (UNIVERSAL, *board.recipes):
        for seed in board.seeds:
            for one in board.sets:
                yield one, seed, recipe


def jobs(board: Board, places: Places, weights: str | None, device: str) -> list[Job]:
    """In the order in which they are to be done."""
    return [Job(board, places, *run, weights, device) for run in _runs(board)]


def draw(one: Set, places: Places) -> None:
    """Make the set's images unless they are there. Raises `Failed`."""
    if not places.images(one, "targets").is_dir():
        gformer(places.work / "data.log", "data", "demo", one.name, "--out", places.data / one.name, *one.demo)


def gformer(log: Path, *arguments: object) -> None:
    """One command, on one thread; what it says goes to `log`. Raises `Failed`."""
    words = [str(argument) for argument in arguments]
    log.parent.mkdir(parents=True, exist_ok=True)
    with log.open("a", encoding="utf-8") as sink:
        print(f"{time.strftime('%H:%M:%S')} $ gformer", *words, file=sink, flush=True)
        environment = os.environ | {"OMP_NUM_THREADS": "1"}
        done = subprocess.run(
            [sys.executable, "-m", "gformer_cli", *words], stdout=sink, stderr=sink, env=environment, check=False
        )
    if done.returncode:
        raise Failed(f"gformer {words[0]} ended with {done.returncode}: see {log}")


def documents(board: Board, places: Places) -> Iterator[tuple[Set, int, str, dict[str, Any]]]:
    """What is measured so far: set, seed, recipe and results.json."""
    for one, seed, recipe in _runs(board):
        for size in board.sizes:
            for document in _documents(places.results(one, seed, recipe, size, board.limit)):
                cells = [cell for cell in document["cells"] if cell["stream"] in board.streams]
                yield one, seed, recipe, document | {"cells": cells}


def _documents(place: Path) -> list[dict[str, Any]]:
    return [json.loads(file.read_text(encoding="utf-8")) for file in sorted(place.glob("*/results.json"))]
