"""What a client sees: predictions, and what is wrong with a request."""

from __future__ import annotations

import asyncio
import re
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest
import torch
from fastapi.testclient import TestClient

import gformer_cli as gformer
from gformer_cli.adapt import answer
from gformer_cli.bundle import Bundle
from gformer_cli.core.change import FIGURES
from gformer_cli.serve import app as application
from gformer_cli.serve.app import create_app
from gformer_cli.serve.options import ServeOptions
from gformer_cli.serve.service import Service
from tests.serve.conftest import GOLDEN

CPU = torch.device("cpu")
Serve = Callable[..., TestClient]


@pytest.fixture
def serve(bundle: Bundle) -> Iterator[Serve]:
    """`serve(batch_size=4)`: a client of the bundle's service."""
    with ExitStack() as stack:

        def start(**options: Any) -> TestClient:
            service = Service(bundle, CPU, ServeOptions(**options), guard=bundle.guard)
            return stack.enter_context(TestClient(create_app(service)))

        yield start


def parts(files: list[Path]) -> list[tuple[str, tuple[str, bytes]]]:
    return [("images", (file.name, file.read_bytes())) for file in files]


def test_a_request_gets_the_numbers_of_adapt(serve: Serve, files: list[Path]) -> None:
    answer = serve(batch_size=4).post("/predict?probabilities=true", files=parts(files[:6]))
    assert answer.status_code == 200
    model, rows = gformer.load(GOLDEN / "bundles" / "guarded.gformer", device="cpu"), answer.json()["predictions"]
    for number, result in enumerate(model.stream(files[:6], batch_size=4)):
        own = [row for row in rows if row["batch"] == number]
        assert [row["path"] for row in own] == [files[place].name for place in result.positions]
        assert [row["label"] for row in own] == result.labels
        assert [row["source_label"] for row in own] == result.source_labels
        assert [row["confidence"] for row in own] == [round(value, 6) for value in result.confidence.tolist()]
        shown = [[round(value, 6) for value in row] for row in result.probabilities.tolist()]
        assert [list(row["probabilities"].values()) for row in own] == shown
        assert {row["decision"] for row in own} == {result.decision}
        told = answer.json()["batches"][number]
        assert told == {
            "batch": number,
            "images": len(result),
            "decision": result.decision,
            "share": result.share,
            "reasons": list(result.reasons),
        }
    assert "probabilities" not in serve().post("/predict", files=parts(files[:1])).json()["predictions"][0]


def test_requests_at_the_same_time_share_a_batch_if_they_name_the_same_target(serve: Serve, files: list[Path]) -> None:
    client = serve(batch_size=3, max_wait=30.0)
    with ThreadPoolExecutor(3) as pool:
        answers = list(pool.map(lambda file: client.post("/predict?target=yard", files=parts([file])), files[:3]))
    assert [answer.json()["predictions"][0]["path"] for answer in answers] == [file.name for file in files[:3]]
    assert {answer.json()["predictions"][0]["target"] for answer in answers} == {"yard"}
    assert [answer.json()["batches"][0]["images"] for answer in answers] == [3, 3, 3]
    with ThreadPoolExecutor(3) as pool:
        answers = list(pool.map(lambda file: client.post("/predict", files=parts([file])), files[:3]))
    assert [answer.json()["batches"][0]["images"] for answer in answers] == [1, 1, 1]
    assert all("target" not in answer.json()["predictions"][0] for answer in answers)


def test_a_context_is_for_named_targets_alone(serve: Serve, files: list[Path]) -> None:
    client = serve(max_wait=0.0, context=3)

    def confidence(query: str, file: Path) -> float:
        answer = client.post(f"/predict{query}", files=parts([file])).json()
        return float(answer["predictions"][0]["confidence"])

    alone = confidence("", files[0])
    for file in files[3:6]:
        confidence("", file)
        confidence("?target=yard", file)
    assert confidence("", files[0]) == alone == confidence("?target=hall", files[0])
    assert confidence("?target=yard", files[0]) != alone


def chunks(total: int) -> Iterator[bytes]:
    yield b'--x\r\nContent-Disposition: form-data; name="i"; filename="i.png"\r\n\r\n'
    for _ in range(total // 1000):
        yield b"." * 1000


MULTIPART = {"Content-Type": "multipart/form-data; boundary=x"}


@pytest.mark.parametrize(
    ("request_", "status", "told"),
    [
        ({"files": [("i", ("a.txt", b"text")), ("i", ("b.png", b""))]}, 422, "2 of 2 images cannot be used"),
        ({"files": {"i": ("a.png", b"x" * 30_000)}}, 413, "larger than 20,000 bytes"),
        ({"content": chunks(90_000), "headers": MULTIPART}, 413, "larger than 20,000 bytes"),
        ({"files": [("i", (f"{number}.png", b"x")) for number in range(5)]}, 413, "more than 4 images"),
        ({"files": [("i", (f"{number}.png", b"x")) for number in range(6)]}, 400, "Too many files"),
        ({"data": {"i": "text"}}, 415, "not multipart"),
        ({"content": b"nonsense", "headers": MULTIPART}, 400, "Invalid multipart"),
        ({"content": b"--x--\r\n", "headers": MULTIPART}, 400, "no images"),
        ({"files": {"i": b"x"}, "params": {"probabilities": "maybe"}}, 422, "probabilities: it must be true or false"),
        ({"files": {"i": b"x"}, "params": {"target": "x" * 201}}, 422, "target: .*200"),
        ({"url": "/nonsense"}, 404, "Not Found"),
    ],
)
def test_what_is_wrong_with_a_request_is_told(serve: Serve, request_: dict[str, Any], status: int, told: str) -> None:
    client = serve(max_request=20_000, queue=4)
    answer = client.post(**{"url": "/predict", **request_})
    assert answer.status_code == status
    assert re.search(told, answer.json()["error"])
    assert client.get("/healthz").json()["waiting"] == 0


def test_every_image_that_cannot_be_read_is_named(serve: Serve, files: list[Path]) -> None:
    sent = [("a", ("text.png", b"text")), *parts(files[:1]), ("b", ("empty.png", b""))]
    answer = serve().post("/predict", files=sent)
    assert answer.status_code == 422
    assert answer.json()["images"] == [
        {"path": "text.png", "reason": "not an image that Pillow can read"},
        {"path": "empty.png", "reason": "the file is empty"},
    ]


def test_a_full_queue_asks_to_come_again_later(serve: Serve, files: list[Path]) -> None:
    client = serve(queue=2, max_wait=0.5, batch_size=8)
    with ThreadPoolExecutor(1) as pool:
        waiting = pool.submit(client.post, "/predict?target=yard", files=parts(files[:2]))
        while client.get("/healthz").json()["waiting"] < 2:
            time.sleep(0.01)
        refused = client.post("/predict", files=parts(files[:1]))
    assert (refused.status_code, refused.headers["Retry-After"]) == (503, "1")
    assert waiting.result().status_code == 200


def test_a_body_that_does_not_come_is_not_waited_for(bundle: Bundle, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(application, "BODY_SECONDS", 0.05)

    async def call() -> list[Any]:
        app, sent = create_app(Service(bundle, CPU, ServeOptions())), []

        async def receive() -> Any:
            await asyncio.sleep(10.0)

        async def send(message: Any) -> None:
            sent.append(message)

        headers = [(b"content-type", b"multipart/form-data; boundary=x")]
        scope = {"type": "http", "method": "POST", "path": "/predict", "query_string": b"", "headers": headers}
        await app(scope, receive, send)
        return sent

    assert asyncio.run(call())[0]["status"] == 408


def test_what_goes_wrong_inside_is_told_and_the_next_request_is_served(
    serve: Serve, files: list[Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    client = serve()
    with monkeypatch.context() as patch:
        patch.setattr("gformer_cli.adapt.predictor.answer", lambda *_, **__: 1 / 0)
        broken = client.post("/predict", files=parts(files[:1]))
    assert broken.status_code == 500 and "ZeroDivisionError" in broken.json()["error"]
    assert client.post("/predict", files=parts(files[:1])).status_code == 200


def test_prometheus_reads_what_happened(serve: Serve, files: list[Path], bundle: Bundle) -> None:
    client = serve(batch_size=4)
    client.post("/predict", files=parts(files[:6]))
    client.post("/predict", files={"i": b"x"})
    told = client.get("/metrics")
    assert told.headers["content-type"].startswith("text/plain")
    found = dict(line.rsplit(" ", 1) for line in told.text.splitlines() if not line.startswith("#"))
    counts = {name: float(value) for name, value in found.items()}
    assert (counts["gformer_images_total"], counts["gformer_batches_total"]) == (6, 2)
    assert sum(counts[f'gformer_decisions_total{{decision="{name}"}}'] for name in ("generated", "source")) == 2
    assert counts['gformer_requests_total{status="200"}'] == counts['gformer_requests_total{status="422"}'] == 1
    assert counts['gformer_batch_images_bucket{le="2.0"}'] == 1 and counts["gformer_request_seconds_count"] == 2
    assert bundle.guard is not None
    assert counts['gformer_guard_limit{score="strangeness"}'] == bundle.guard.strangeness.limit
    model = gformer.load(GOLDEN / "bundles" / "guarded.gformer", device="cpu")
    result = model.predict(files[4:6])
    assert counts['gformer_guard_score{score="strangeness"}'] == pytest.approx(result.signals["strangeness"], rel=1e-4)
    seen = torch.stack([model.preprocessing(file) for file in files[4:6]])
    shift = answer(bundle, seen, None).measure().layers[:, FIGURES.index("mean_shift")]
    assert counts["gformer_drift"] == pytest.approx(float(shift.mean()), rel=1e-4)
    assert counts["gformer_queue_images"] == 0
    documented = set(re.findall(r"gformer_\w+", (GOLDEN.parents[1] / "docs" / "how-to" / "serve.md").read_text()))
    assert len(documented) == 12 and all(f"# TYPE {name} " in told.text for name in documented)


def test_health_tells_what_is_served_and_whether(serve: Serve) -> None:
    client = serve(batch_size=4)
    told = client.get("/healthz")
    assert told.status_code == 200
    assert told.json() == {
        "status": "ok",
        "version": gformer.__version__,
        "model": "guarded.gformer",
        "classes": 3,
        "guard": "on",
        "batch_size": 4,
        "waiting": 0,
    }


def test_without_its_thread_it_is_not_healthy(bundle: Bundle) -> None:
    with TestClient(create_app(Service(bundle, CPU, ServeOptions()))) as client:
        pass
    assert client.get("/healthz").status_code == 503
