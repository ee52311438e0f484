"""The bundle: one file that holds a trained model and everything needed to use it elsewhere.

It is a safetensors file. Tensors `backbone.*` are the source model's state dict, `generator.*` the
generator's, `constant.*` those of the constant generator where there is one (`control.*` in older files); the header's
metadata has one key, `gformer`, with the JSON of `BundleHeader`. A static bundle has `static.*` in the place of both:
what takes the place of the tensors of the same name in `backbone.*`, which still hold the source model. Loading runs no
code from the file and checks the header before a tensor is read.
"""

from gformer_cli.bundle.build import build_generator, build_model, constant_settings
from gformer_cli.bundle.file import Bundle, load_bundle, read_header, save_bundle, save_static_bundle
from gformer_cli.bundle.header import (
    FORMAT_VERSION,
    BundleHeader,
    DataHeader,
    GeneratorHeader,
    GuardHeader,
    LayersHeader,
    Lineage,
    OriginHeader,
    StaticHeader,
    library_versions,
    open_file,
)
from gformer_cli.bundle.integrity import Verification, file_hash, tensors_hash, verify
from gformer_cli.bundle.transplant import read_generator

__all__ = [
    "FORMAT_VERSION",
    "Bundle",
    "BundleHeader",
    "DataHeader",
    "GeneratorHeader",
    "GuardHeader",
    "LayersHeader",
    "Lineage",
    "OriginHeader",
    "StaticHeader",
    "Verification",
    "build_generator",
    "build_model",
    "constant_settings",
    "file_hash",
    "library_versions",
    "load_bundle",
    "open_file",
    "read_generator",
    "read_header",
    "save_bundle",
    "save_static_bundle",
    "tensors_hash",
    "verify",
]
