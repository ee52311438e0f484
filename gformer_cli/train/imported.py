"""Meta-training on an imported source model, which itself is never trained.

What it was trained on is not known. The images at hand tell what its layers without statistics of their own show, play
the episodes' sources, and teach copies of it that are to know less of one domain.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace

import torch

from gformer_cli.bundle import tensors_hash
from gformer_cli.compute import ranks
from gformer_cli.compute.pace import Pace
from gformer_cli.compute.threads import Cores
from gformer_cli.core.backbone import Backbone
from gformer_cli.data.labelled import LabelledDomain
from gformer_cli.errors import InputError, WorkError
from gformer_cli.files import write_json
from gformer_cli.folders.domains import Domain, ImageFile, ImageFiles
from gformer_cli.images.preprocessing import Skipped
from gformer_cli.networks.norms import AdaptiveNorm
from gformer_cli.progress import Progress
from gformer_cli.settings import Settings
from gformer_cli.train.answers import answers
from gformer_cli.train.recorded import plain_batches
from gformer_cli.train.run_folder import ALL, OTHER_IMAGES, RunFolder, SourceData
from gformer_cli.train.source_crew import train_source_models
from gformer_cli.train.source_images import SourceImages
from gformer_cli.train.source_models import preprocessing_of

_BATCH = 32
"""Images that are recorded together."""


def own_tensors(network: torch.nn.Module) -> dict[str, torch.Tensor]:
    """The state dict without what was recorded of source images: what a model held when it was imported."""
    recorded = {
        id(buffer)
        for layer in network.modules()
        if isinstance(layer, AdaptiveNorm) and not layer.of_batch
        for buffer in (layer.running_mean, layer.running_var)
    }
    # by identity: a network may give its tensors other names in a state dict than its modules have
    state = network.state_dict(keep_vars=True)
    return {name: tensor.detach() for name, tensor in state.items() if id(tensor) not in recorded}


def present(domains: Sequence[Domain]) -> list[Domain]:
    """`domains` without class folders that hold no image: the head knows all classes, a folder may lack some."""
    return [replace(d, classes=tuple(name for name in d.classes if d.counts[name])) for d in domains]


def labelled_by(
    backbone: Backbone,
    domains: Sequence[Domain],
    classes: Sequence[str],
    settings: Settings,
    *,
    device: torch.device,
    workers: int,
    pace: Pace,
    progress: Progress,
) -> list[Domain]:
    """`domains` where the model's own answers stand in for the labels of unlabelled ones.

    An image that cannot be read keeps the first class: it is skipped, and told, when its turn comes to be read.
    """
    preprocessing = preprocessing_of(settings).among(domains)
    found: list[Domain] = []
    for domain in domains:
        if domain.classes:
            found.append(domain)
            continue
        progress.begin(f"answers on {domain.name}", len(domain.files))
        files: list[ImageFile] = []
        for file, answer in answers(backbone, domain.files, preprocessing, device=device, workers=workers, pace=pace):
            files.append(file._replace(label=classes[0 if isinstance(answer, Skipped) else answer]))
            progress.advance()
        progress.end()
        progress.message(
            f"domain {domain.name} has no labels: the model's answers to its images stand in for them, "
            "so its figures tell how far answers under a shift agree with those without"
        )
        found.append(
            replace(domain, files=ImageFiles(files), classes=tuple(sorted({str(file.label) for file in files})))
        )
    return found


@dataclass(frozen=True)
class Imports:
    """An imported model's run, and the images that it is meta-trained on."""

    run: RunFolder
    loaded: Sequence[LabelledDomain]
    settings: Settings
    device: torch.device
    workers: int
    cores: Cores | None
    progress: Progress

    def take_in(self, backbone: Backbone, *, resume: bool) -> SourceData:
        """Make the run one of these images: record them, fine-tune the copies that are wanted, write source.json.

        Raises `InputError` where the run is resumed with other images, and `WorkError` where the source model is no
        longer the one that was imported.
        """
        images = SourceImages.of(self.loaded)
        ranks.from_first(lambda: self._begin(images, resume=resume))
        self._record(backbone)
        steps = self.settings.meta_train.leave_one_domain_out
        if steps:
            self._fine_tune(steps)
        imported = self.run.imported()
        assert imported is not None
        if tensors_hash(own_tensors(backbone.network)) != imported.origin.tensors:
            raise WorkError(
                f"the source model of {self.run.root} is not the one that was imported",
                "Import it again: gformer import --overwrite.",
            )
        classes = imported.classes
        source = SourceData(
            classes=classes,
            domains={domain.name: domain.counts(classes) for domain in self.loaded},
            fingerprint=images.fingerprint,
            leave_one_domain_out=bool(steps),
        )
        ranks.from_first(lambda: self.run.write_source(source))
        return source

    def _begin(self, images: SourceImages, *, resume: bool) -> None:
        """Record the images, or compare them with those that the run was begun with."""
        before = self.run.images() if resume else None
        if before is not None:
            before.require(images, OTHER_IMAGES)
        else:
            self.run.forget_images()
            write_json(self.run.images_path, asdict(images))

    def _record(self, backbone: Backbone) -> None:
        """Record what layers without statistics of their own show of the images, and keep it with the model."""
        if all(layer.of_batch for layer in backbone.layers):
            return
        backbone.record(plain_batches(self.loaded, _BATCH, self.device))
        state = backbone.network.state_dict()
        ranks.from_first(lambda: self.run.save_model(ALL, {name: state[name] for name in self.run.load_model(ALL)}))

    def _fine_tune(self, steps: int) -> None:
        """Copies of the model, each trained on the other domains for `steps` steps."""
        names = [domain.name for domain in self.loaded]
        check_copies(self.loaded)
        parts = {f"without-{left}": [name for name in names if name != left] for left in names}
        start = self.settings.backbone.model_copy(update={"weights": str(self.run.model_path(ALL))})
        pretrain = self.settings.pretrain
        every = min(steps, pretrain.validate_every)
        trained = pretrain.model_copy(update={"steps": steps, "validate_every": every, "patience": None})
        settings = self.settings.model_copy(update={"backbone": start, "pretrain": trained})
        train_source_models(
            parts,
            self.loaded,
            settings,
            self.run,
            len(self.run.source().classes),
            self.device,
            self.workers,
            self.cores,
            self.progress,
        )


def check_copies(domains: Sequence[Domain | LabelledDomain]) -> None:
    """Raises `InputError` where no copy can know less of one domain than of the others."""
    if len(domains) < 2:
        raise InputError(
            f"one source domain only ({domains[0].name}), and --leave-one-domain-out needs two or more",
            "Add a --source, or leave the option out: episodes then come from simulated shifts alone.",
        )
