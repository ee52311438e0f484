"""Write a generator that has learnt nothing, in the form of the one that comes with gformer: where learning starts.

python benchmarks/universal/untrained.py untrained.safetensors
"""

import argparse
from pathlib import Path

import torch

from gformer_cli.bundle import Card, build_generator, save_generator
from gformer_cli.core.backbone import Backbone
from gformer_cli.networks.build import build_network
from gformer_cli.seeding import derive_seed
from gformer_cli.settings import GeneratorSettings


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("out", type=Path)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    settings = GeneratorSettings(probe="forward", prior_count=16.0)
    any_network = Backbone(build_network("resnet18", 2, stem="small", width=0.125))
    torch.manual_seed(derive_seed(options.seed, "generator"))
    save_generator(options.out, build_generator(settings, any_network), settings, Card())
    print(f"{options.out}: {options.out.stat().st_size:,} bytes")


if __name__ == "__main__":
    main()
