"""Random views of preprocessed images, for the methods that compare predictions over them."""

from __future__ import annotations

import torch
from torchvision import tv_tensors
from torchvision.transforms import v2

from gformer_cli.images.preprocessing import Preprocessing


class Augmentation:
    """A torchvision transform of pixels in [0, 1], usable on the network's normalised input.

    A call makes one draw and applies it to every image of the batch: the batch goes through as the frames of one
    video. So a view of an image depends on the draw and the image, not on its neighbours in the batch.
    """

    def __init__(self, preprocessing: Preprocessing, transform: v2.Transform) -> None:
        self.preprocessing = preprocessing
        self.transform = transform

    @torch.no_grad()
    def __call__(self, images: torch.Tensor, generator: torch.Generator) -> torch.Tensor:
        """A view of each image (B, 3, S, S), normalised as they are; the draw is `generator`'s next."""
        pixels = self.preprocessing.images(images).clamp(0.0, 1.0)
        seed = int(torch.randint(2**62, (), generator=generator))
        # the transforms draw from the global generators, which belong to others
        with torch.random.fork_rng(devices=range(torch.cuda.device_count())):
            torch.manual_seed(seed)
            view: torch.Tensor = self.transform(tv_tensors.Video(pixels))
        return self.preprocessing.normalise(view.as_subclass(torch.Tensor).clamp(0.0, 1.0))


def jitter_views(preprocessing: Preprocessing, *, mirrored: bool, blur: bool = True) -> Augmentation:
    """Colour, position and blur, as CoTTA's authors augment and RoTTA's after them; without `blur` as ROID's do.

    Images are mirrored only if the source model was trained on `mirrored` ones: the authors always do, which turns
    letters and digits into others. Their random gamma and their noise of a standard deviation of 0.005, about one grey
    level, are left out: torchvision has no random gamma, and no noise in its older versions.
    """
    size = preprocessing.image_size
    return Augmentation(
        preprocessing,
        v2.Compose(
            [
                v2.ColorJitter(brightness=0.4, contrast=0.3, saturation=0.5, hue=0.06),
                v2.Pad(size // 2, padding_mode="edge"),  # so that moving and turning uncovers no black corners
                v2.RandomAffine(
                    degrees=15,
                    translate=(1 / 16, 1 / 16),
                    scale=(0.9, 1.1),
                    interpolation=v2.InterpolationMode.BILINEAR,
                ),
                *([v2.GaussianBlur(kernel_size=5, sigma=(0.001, 0.5))] if blur else []),
                v2.CenterCrop(size),
                *_mirror(mirrored),
            ]
        ),
    )


def augmix_views(preprocessing: Preprocessing, *, mirrored: bool) -> Augmentation:
    """A shift by up to an eighth of the side, then AugMix (Hendrycks et al. 2020, arXiv 1912.02781), as MEMO augments.

    AugMix works here without the operations that resemble common corruptions, as in its paper. Images are mirrored
    only if the source model was trained on `mirrored` ones.
    """
    size = preprocessing.image_size
    return Augmentation(
        preprocessing,
        v2.Compose(
            [
                v2.RandomCrop(size, padding=size // 8, padding_mode="edge"),
                *_mirror(mirrored),
                v2.AugMix(all_ops=False),
            ]
        ),
    )


def _mirror(mirrored: bool) -> list[v2.Transform]:
    return [v2.RandomHorizontalFlip()] if mirrored else []
