"""The bundle: one file that holds a trained model and everything needed to use it elsewhere.

It is a safetensors file. Tensors `backbone.*` are the source model's state dict, `generator.*` the
generator's, `constant.*` those of the constant generator where there is one (`control.*` in older files); the header's
metadata has one key, `gformer`, with the JSON of `BundleHeader`. A static bundle has `static.*` in the place of both:
what takes the place of the tensors of the same name in `backbone.*`, which still hold the source model. Loading runs no
code from the file and checks the header before a tensor is read. A generator may have a file of its own, without a
network: `generator_file.py`.
"""

from gformer_cli.bundle.build import build_generator, build_model, constant_settings
from gformer_cli.bundle.card import (
    Card,
    Figures,
    GeneratorFileHeader,
    LearntNetwork,
    LearntRun,
    Licence,
    learnt_run,
)
from gformer_cli.bundle.described import Described, depth_of, with_white_level
from gformer_cli.bundle.file import Bundle, load_bundle, read_header, save_bundle, save_static_bundle
from gformer_cli.bundle.generator_file import (
    UNIVERSAL,
    generator_path,
    is_generator_file,
    read_card,
    read_generator_header,
    save_generator,
)
from gformer_cli.bundle.header import (
    FORMAT_VERSION,
    BundleHeader,
    DataHeader,
    EstimatorsHeader,
    GeneratorHeader,
    GuardHeader,
    LayersHeader,
    Lineage,
    OriginHeader,
    StaticHeader,
    TemperaturesHeader,
    library_versions,
    open_file,
)
from gformer_cli.bundle.integrity import Verification, file_hash, sha256_of, tensors_hash, verify
from gformer_cli.bundle.transplant import read_generator

__all__ = [
    "FORMAT_VERSION",
    "UNIVERSAL",
    "Bundle",
    "BundleHeader",
    "Card",
    "DataHeader",
    "Described",
    "EstimatorsHeader",
    "Figures",
    "GeneratorFileHeader",
    "GeneratorHeader",
    "GuardHeader",
    "LayersHeader",
    "LearntNetwork",
    "LearntRun",
    "Licence",
    "Lineage",
    "OriginHeader",
    "StaticHeader",
    "TemperaturesHeader",
    "Verification",
    "build_generator",
    "build_model",
    "constant_settings",
    "depth_of",
    "file_hash",
    "generator_path",
    "is_generator_file",
    "learnt_run",
    "library_versions",
    "load_bundle",
    "open_file",
    "read_card",
    "read_generator",
    "read_generator_header",
    "read_header",
    "save_bundle",
    "save_generator",
    "save_static_bundle",
    "sha256_of",
    "tensors_hash",
    "verify",
    "with_white_level",
]
