"""Ways to predict on target batches, by name. Adding one is a file here and a line in `METHODS`.

Other packages add theirs without touching this one, by an entry point of the group `gformer.methods`.
"""

from gformer_cli.methods.adanpc import AdaNPC
from gformer_cli.methods.base import Method
from gformer_cli.methods.bn import BatchStatistics
from gformer_cli.methods.bn_mix import MixedStatistics
from gformer_cli.methods.cmf import Cmf
from gformer_cli.methods.come import Come
from gformer_cli.methods.constant import Constant
from gformer_cli.methods.cotta import Cotta
from gformer_cli.methods.delta import Delta
from gformer_cli.methods.deyo import Deyo
from gformer_cli.methods.eata import Eata
from gformer_cli.methods.foa import Foa
from gformer_cli.methods.gformer import Gformer
from gformer_cli.methods.gformer_context import GformerContext
from gformer_cli.methods.gformer_guard import GformerGuard
from gformer_cli.methods.installed import installed_methods
from gformer_cli.methods.lame import Lame
from gformer_cli.methods.memo import Memo
from gformer_cli.methods.note import Note
from gformer_cli.methods.pea import Pea
from gformer_cli.methods.petta import Petta
from gformer_cli.methods.rdumb import RDumb
from gformer_cli.methods.rmt import Rmt
from gformer_cli.methods.roid import Roid
from gformer_cli.methods.rotta import Rotta
from gformer_cli.methods.sar import Sar
from gformer_cli.methods.shot import ShotIM
from gformer_cli.methods.source import Source
from gformer_cli.methods.t3a import T3A
from gformer_cli.methods.tast import Tast
from gformer_cli.methods.tent import Tent
from gformer_cli.methods.tent_episodic import EpisodicTent
from gformer_cli.methods.tsd import TSD
from gformer_cli.methods.unmix_tns import UnMixTNS

METHODS: dict[str, type[Method]] = {
    "source": Source,
    "bn": BatchStatistics,
    "bn-mix": MixedStatistics,
    "unmix-tns": UnMixTNS,
    "tent": Tent,
    "tent-episodic": EpisodicTent,
    "shot-im": ShotIM,
    "eata": Eata,
    "rdumb": RDumb,
    "sar": Sar,
    "deyo": Deyo,
    "come": Come,
    "delta": Delta,
    "cotta": Cotta,
    "rmt": Rmt,
    "rotta": Rotta,
    "petta": Petta,
    "note": Note,
    "roid": Roid,
    "cmf": Cmf,
    "t3a": T3A,
    "tast": Tast,
    "tsd": TSD,
    "adanpc": AdaNPC,
    "lame": Lame,
    "pea": Pea,
    "foa": Foa,
    "memo": Memo,
    "constant": Constant,
    "gformer": Gformer,
    "gformer-context": GformerContext,
    "gformer-guard": GformerGuard,
}

_installed, UNLOADED = installed_methods(METHODS)
"""Why methods of other packages cannot be had, by name."""
METHODS.update(_installed)

__all__ = ["METHODS", "UNLOADED", "Method"]
