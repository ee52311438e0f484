"""The command of the package's docstring."""

from __future__ import annotations

import argparse
from pathlib import Path

from benchmarks.universal.tasks.catalogue import NAMES, write
from gformer_cli.data.demo.drawn.packages import Packages
from gformer_cli.files import remove_tree


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.universal.tasks", description="Write the tasks.")
    parser.add_argument("out", type=Path, metavar="OUT", help="Folder to write.")
    parser.add_argument("--only", nargs="+", choices=NAMES, default=NAMES, metavar="NAME", help="Write these alone.")
    parser.add_argument(
        "--packages", type=Path, metavar="DIR", help="Folder of fetched packages; default OUT/.packages."
    )
    options = parser.parse_args()
    packages = Packages(options.packages or options.out / ".packages")
    for name in options.only:
        for old in (options.out / name, options.out / f"{name}-64"):
            if old.is_dir():
                remove_tree(old)
        print(f"{name}: {write(name, options.out, packages)} images", flush=True)


if __name__ == "__main__":
    main()
