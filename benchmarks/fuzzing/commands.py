"""A tree of folders through the commands, as a user runs them."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

from fuzzing.trees import Tree, truth
from gformer_cli.folders.walking import DEEPEST


def run_commands(tree: Tree, root: Path, bundle: Path) -> Iterator[str]:
    """Complaints about what `data check` and `adapt` say of a tree."""
    there = truth(tree, DEEPEST)
    out = root.parent / "predictions.csv"
    ways = {
        "data check": ["data", "check", str(root)],
        "data check, flat": ["data", "check", str(root), "--layout", "flat"],
        "adapt, dry run": ["adapt", "--model", str(bundle), "--target", str(root), "--layout", "flat", "--dry-run"],
        "adapt": ["adapt", "--model", str(bundle), "--target", str(root), "--layout", "flat", "--out", str(out)],
    }
    for name, arguments in ways.items():
        done = subprocess.run(
            [sys.executable, "-m", "gformer_cli", *arguments, "--json"], capture_output=True, check=False, timeout=100
        )
        told = done.stderr.decode()
        if done.returncode not in (0, 1, 2) or "defect" in told or "Traceback" in told:
            yield f"{name}: status {done.returncode}: {told[-500:]}"
            continue
        if not told.replace("\n", "").isprintable():
            yield f"{name}: steers the terminal: {told!r}"
        if name == "data check":
            continue  # it may be asked how to read the tree
        if not done.stdout:
            if there.images and not ("no image" in told or "unreadable" in told):
                yield f"{name}: status {done.returncode}: {told[-500:]}"
            continue
        document = json.loads(done.stdout)
        aside = sum(document["left_aside"].values())
        if name == "data check, flat":
            images = sum(domain["images"] for domain in document["domains"])
        elif name == "adapt":
            images = document["images"] + len(document["skipped"])
        else:
            images = sum(sum(counts.values()) for counts in document["domains"].values())
        if images + aside != len(there.files):
            yield f"{name}: {images} images and {aside} left aside of {len(there.files)}"
        if there.too_deep and "not looked into" not in told:
            yield f"{name}: no word of {len(there.too_deep)} folders that lie too deep"
