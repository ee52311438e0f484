"""The file answers what the bundle answers, whatever the batch size and the guard's decision."""

from __future__ import annotations

import copy
import json
from pathlib import Path
from typing import Any

import onnx
import onnxruntime
import pytest
import torch
from torch import nn

from gformer_cli.bundle import Bundle, build_generator, build_model
from gformer_cli.core.backbone import Backbone
from gformer_cli.errors import InputError, WorkError
from gformer_cli.export.check import Compared, compare, require_alike
from gformer_cli.export.convert import convert, serialised
from gformer_cli.export.graphs import AdaptedGraph
from gformer_cli.export.header import read_graph_header
from gformer_cli.export.model import GraphModel
from gformer_cli.export.running import Running
from gformer_cli.export.samples import Samples, made_images
from gformer_cli.export.write import check_export, export
from gformer_cli.guard.prediction import predict_both
from gformer_cli.guard.tensors import CODES
from gformer_cli.settings import GeneratorSettings
from tests.export.conftest import Made


@pytest.mark.parametrize("decision", CODES)
def test_the_graph_decides_and_predicts_as_the_bundle_does(made: Made, decision: str) -> None:
    images, bundle = made.batches[decision], made.bundle
    assert bundle.guard is not None
    with torch.no_grad():
        both = predict_both(bundle.backbone, bundle.model, images)
        verdict = bundle.guard.decide(both.signals)
        logits, _ = both.under(verdict)
    found = Running(made.path, 1)(images)
    assert verdict.decision == decision and int(found["decision"]) == CODES[decision]
    for name, wanted in {
        "logits": logits,
        "source_logits": both.source,
        "generated_logits": both.prediction.logits,
        "share": torch.tensor(verdict.share),
        "strangeness": torch.tensor(verdict.signals["strangeness"]),
        "expected_loss": torch.tensor(verdict.signals["expected_loss"]),
    }.items():
        torch.testing.assert_close(found[name], wanted, rtol=2e-4, atol=2e-5)
    names = list(both.signals)
    assert names[0] == "batch_size"
    torch.testing.assert_close(
        found["signals"], torch.tensor([both.signals[name] for name in names[1:]]), rtol=1e-3, atol=1e-4
    )
    assert not torch.allclose(both.prediction.logits, both.source, atol=1e-2)


def test_one_image_is_below_the_smallest_batch(made: Made) -> None:
    found = Running(made.path, 1)(made.batches["generated"][:1])
    assert int(found["decision"]) == CODES["source"]
    torch.testing.assert_close(found["logits"], found["source_logits"])


def test_what_has_no_numbers_is_left_to_the_source_model(made: Made) -> None:
    """A mean of huge pixels overflows where batch statistics are taken, not in the source model."""
    images = made.batches["generated"].clone()
    images[0] = 1e25
    found = Running(made.path, 1)(images)
    assert not found["generated_logits"].isfinite().all()
    assert int(found["decision"]) == CODES["source"]
    torch.testing.assert_close(found["logits"], found["source_logits"])


def test_the_blended_pass_is_a_branch(made: Made) -> None:
    graph = onnx.load(made.path).graph
    (branch,) = [node for node in graph.node if node.op_type == "If"]
    inner = {attribute.name: attribute.g for attribute in branch.attribute}
    # of two: what the first one does to the images is the same in every pass
    convolutions = [node.op_type for node in inner["then_branch"].node].count("Conv")
    assert convolutions == 1 and [node.op_type for node in inner["else_branch"].node] == ["Identity"]


def test_its_metadata_tell_what_it_is_to_any_runtime(made: Made) -> None:
    found = onnxruntime.InferenceSession(made.path).get_modelmeta().custom_metadata_map
    header = made.bundle.header
    assert json.loads(found["classes"]) == header.classes
    assert json.loads(found["preprocessing"])["mean"] == list(header.preprocessing.mean)
    assert (found["kind"], found["network"], found["format"]) == ("adaptive", "resnet18", "1")
    assert json.loads(found["temperatures"]) == vars(made.bundle.temperatures) != {"source": 1.0, "adapted": 1.0}
    assert read_graph_header(made.path).bundle == header


@pytest.mark.slow
def test_logits_alone_cost_no_pass_of_the_source_model(made: Made, _bundle_file: Path, tmp_path: Path) -> None:
    out = tmp_path / "m.onnx"
    done = export(_bundle_file, made.bundle, out, "adaptive", made_images(made.bundle, 3), logits_only=True)
    assert done.outputs == ["logits"] and not read_graph_header(out).guarded
    assert [node.op_type for node in onnx.load(out).graph.node].count("Conv") == 2
    images = made.batches["source"]
    found = Running(out, 1)(images)["logits"]
    torch.testing.assert_close(found, Running(made.path, 1)(images)["generated_logits"], rtol=1e-4, atol=1e-5)
    with pytest.raises(InputError, match="has no source_logits"):
        GraphModel(out, threads=1)


def test_large_logits_may_differ_by_more(made: Made) -> None:
    """float32 rounds by shares."""
    bundle = copy.deepcopy(made.bundle)
    bundle.backbone.classifier.bias.data += 50.0
    running: Any = lambda images: {"logits": bundle.backbone(images) + 4e-3}  # noqa: E731
    (found,) = compare(bundle, "source", None, running, Samples.of(bundle, made_images(bundle, 1), prepares=False))
    assert 50 < 1e4 * found.allowed < 60
    require_alike([found])


def test_a_network_that_rounds_coarsely_may_differ_by_more(made: Made, monkeypatch: pytest.MonkeyPatch) -> None:
    bundle, shift = made.bundle, 5e-4
    samples = Samples.of(bundle, made_images(bundle, 1), prepares=False)
    running: Any = lambda images: {"logits": bundle.backbone(images) + shift}  # noqa: E731
    (found,) = compare(bundle, "source", None, running, samples)
    assert found.difference > found.allowed  # float64 says that torch is right to 1e-6
    exact = nn.Module.double
    monkeypatch.setattr(nn.Module, "double", lambda self: _moved(exact(self), 2e-4))
    (coarse,) = compare(bundle, "source", None, running, samples)
    assert coarse.difference <= coarse.allowed < 1e-3
    shift = 0.5
    monkeypatch.setattr(nn.Module, "double", lambda self: _moved(exact(self), 1.0))
    (lost,) = compare(bundle, "source", None, running, samples)
    assert lost.difference > lost.allowed  # whatever torch does, that is no answer


def _moved(module: Any, by: float) -> Any:
    """A backbone whose logits are that much larger."""
    if isinstance(module, Backbone):
        module.classifier.bias.data += by
    return module


def settled(**changes: Any) -> GeneratorSettings:
    return GeneratorSettings(width=8, depth=1, heads=2, channel_width=4, feed_forward=8, **changes)


GENERATORS = {
    "probe of the classes": settled(probe="source", probed_classes=True, trust=True, class_shares=True),
    "probe of everything": settled(probe="forward", trust=True),
}


def convolutional() -> nn.Module:
    norms = [nn.GroupNorm(2, 4), nn.BatchNorm2d(6)]
    first = [nn.Conv2d(3, 4, 3), norms[0], nn.ReLU(), nn.Conv2d(4, 6, 3), norms[1], nn.ReLU()]
    return nn.Sequential(*first, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(6, 3))


def vit() -> nn.Module:
    import timm

    options = {"img_size": 16, "patch_size": 4, "embed_dim": 24, "depth": 1, "num_heads": 2}
    return timm.create_model("vit_tiny_patch16_224", num_classes=3, **options)  # type: ignore[no-any-return]


@pytest.mark.slow
@pytest.mark.parametrize(
    ("network", "generator"),
    [
        (convolutional, "probe of the classes"),
        pytest.param(convolutional, "probe of everything", marks=pytest.mark.slow),
        pytest.param(vit, "probe of the classes", marks=pytest.mark.slow),
    ],
)
def test_every_way_of_generating_is_a_graph_of_any_batch_size(
    network: Any, generator: str, perturb: Any, tmp_path: Path
) -> None:
    torch.manual_seed(0)
    backbone = Backbone(network().eval(), image_size=16).freeze()
    settings = GENERATORS[generator]
    model = build_model(settings, build_generator(settings, backbone)).eval().requires_grad_(False)
    perturb(model, 0.4)
    graph = AdaptedGraph(backbone, model).eval()
    (tmp_path / "m.onnx").write_bytes(serialised(convert(graph, torch.rand(3, 16, 16))))
    running = Running(tmp_path / "m.onnx", 1)
    for count in (1, 3, 17):
        images = torch.randn(count, 3, 16, 16, generator=torch.Generator().manual_seed(count))
        logits, source, change = graph(images)
        found = running(images)
        torch.testing.assert_close(found["logits"], logits, rtol=1e-4, atol=5e-5)
        torch.testing.assert_close(found["source_logits"], source, rtol=1e-5, atol=1e-5)
        torch.testing.assert_close(found["change"], change, rtol=1e-3, atol=1e-4)
        assert not torch.allclose(logits, source, atol=1e-2)


@pytest.mark.parametrize(
    ("changes", "what"),
    [
        ({"probe": "backward"}, "reads gradients"),
        ({"probe": "forward", "probe_images": 0.5}, "probes a share of the images"),
    ],
)
def test_generators_that_no_graph_holds_are_refused(
    shallow_bundle: Bundle, changes: dict[str, Any], what: str, tmp_path: Path
) -> None:
    settings = shallow_bundle.header.generator.settings.model_copy(update=changes)
    generator = shallow_bundle.header.generator.model_copy(update={"settings": settings})
    shallow_bundle.header = shallow_bundle.header.model_copy(update={"generator": generator})
    model = Path("b.gformer")
    with pytest.raises(InputError, match=what):
        check_export(model, shallow_bundle, tmp_path / "m.onnx", None, overwrite=False)
    assert check_export(model, shallow_bundle, tmp_path / "m.onnx", "source", overwrite=False) == "source"


def test_what_does_not_answer_alike_is_not_written(
    made: Made, _bundle_file: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr("gformer_cli.export.write.convert", lambda *_: _negated(made.bundle))
    out = tmp_path / "model.onnx"
    with pytest.raises(WorkError, match=r"do not agree on a batch of 1 images: 1 labels differ"):
        export(_bundle_file, made.bundle, out, "source", made_images(made.bundle, 1))
    assert list(tmp_path.iterdir()) == []


def _negated(bundle: Bundle) -> Any:
    class Negated(AdaptedGraph):
        outputs = ("logits",)

        def forward(self, images: torch.Tensor) -> tuple[torch.Tensor, ...]:
            return (-self.backbone(images),)

    return convert(Negated(bundle.backbone, bundle.model).eval(), torch.rand(3, 8, 8))


@pytest.mark.parametrize(
    ("found", "what"),
    [
        (Compared(3, 0.0, 1e-4, 1, True), "1 labels differ"),
        (Compared(3, 0.0, 1e-4, 0, False), "the guard's decision differs"),
        (Compared(3, 2e-4, 1e-4, 0, True), "more than 0.0001"),
        (Compared(3, float("nan"), 1e-4, 0, True), "logits differ"),
    ],
)
def test_each_difference_is_named(found: Compared, what: str) -> None:
    require_alike([Compared(1, 9e-5, 1e-4, 0, True)])
    with pytest.raises(WorkError, match=what):
        require_alike([Compared(1, 0.0, 1e-4, 0, True), found])
