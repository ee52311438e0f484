"""`gformer serve`: every option for its effect, without a process; and one that is stopped while it works."""

from __future__ import annotations

import http.client
import importlib.util
import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

Gformer = Callable[..., Any]
GOLDEN = Path(__file__).parents[1] / "golden"
GUARDED = GOLDEN / "bundles" / "guarded.gformer"
FILES = sorted((GOLDEN / "images" / "fog").glob("*/*.png"))


@pytest.fixture
def served(gformer: Gformer, monkeypatch: pytest.MonkeyPatch) -> Callable[..., tuple[Any, list[Any]]]:
    """`served(words, send)`: what the command did, and the answers that `send`, which is given a client, got."""
    from fastapi.testclient import TestClient

    def call(words: list[object], send: Callable[[TestClient], list[Any]]) -> tuple[Any, list[Any]]:
        answers: list[Any] = []

        def run(app: Any, listening: socket.socket, stopping: Any) -> int:
            with TestClient(app) as client:
                answers.extend(send(client))
            return signal.SIGTERM

        monkeypatch.setattr("gformer_cli.serve.server.run", run)
        model = [] if "--model" in words else ["--model", GUARDED]
        return gformer("serve", *model, "--port", 0, "--device", "cpu", *words), answers

    return call


def post(client: Any, count: int = 2, query: str = "") -> Any:
    sent = [("images", (file.name, file.read_bytes())) for file in FILES[:count]]
    return client.post(f"/predict{query}", files=sent)


def test_it_says_where_it_listens_and_what_it_did(served: Callable[..., Any]) -> None:
    done, (answer,) = served([], lambda client: [post(client, 3)])
    assert done.status == 0 and answer.status_code == 200
    assert f"Serving {GUARDED}: POST images to http://127.0.0.1:" in done.err
    assert "3 images in 1 batch" in done.out and "Guard: 1 generated, 0 blended, 0 source" in done.out
    done, _ = served(["--json", "--guard", "off"], lambda client: [post(client, 3)])
    assert done.json["images"] == 3 and done.json["decisions"] == {"generated": 1, "blended": 0, "source": 0}
    assert done.json["url"].startswith("http://127.0.0.1:")


@pytest.mark.parametrize(
    ("words", "send", "wanted"),
    [
        (["--batch-size", 2], lambda client: post(client, 5).json()["batches"][0]["images"], 2),
        (["--queue", 1], lambda client: post(client).status_code, 413),
        (["--max-request", 1], lambda client: client.post("/predict", files={"i": b"x" * 2**20}).status_code, 413),
        (["--guard", "off"], lambda client: client.get("/healthz").json()["guard"], "off"),
        (["--guard", "warn"], lambda client: client.get("/healthz").json()["guard"], "warn"),
        (["--guard-limit", "smallest-batch=9"], lambda client: post(client).json()["batches"][0]["decision"], "source"),
    ],
)
def test_each_option_takes_effect(served: Callable[..., Any], words: list[object], send: Any, wanted: Any) -> None:
    _, answers = served(words, lambda client: [send(client)])
    assert answers == [wanted]


def test_max_wait_is_in_milliseconds(served: Callable[..., Any]) -> None:
    def timed(client: Any) -> list[float]:
        post(client)
        began = time.monotonic()
        assert post(client, query="?target=yard").status_code == 200
        return [time.monotonic() - began]

    _, (short,) = served(["--max-wait", 0], timed)
    _, (long,) = served(["--max-wait", 400], timed)
    assert short < 0.4 <= long < 5.0


def test_options_of_prediction_change_what_is_predicted(served: Callable[..., Any]) -> None:
    def confidences(client: Any) -> list[float]:
        answers = [post(client, 4, "?target=yard").json() for _ in range(2)]
        return [row["confidence"] for answer in answers for row in answer["predictions"]]

    _, plain = served([], confidences)
    _, rough = served(["--precision", "bfloat16"], confidences)
    _, pooled = served(["--context", 2], confidences)
    _, cool = served(["--temperature", 100], confidences)
    assert max(cool) < 0.55 < max(plain)
    assert plain != rough and plain == pytest.approx(rough, abs=0.05)
    assert pooled[:4] == plain[:4] and pooled[4:] != plain[4:]


def test_verbose_tells_each_batch(served: Callable[..., Any]) -> None:
    done, _ = served(["--verbose"], lambda client: [post(client, 3, "?target=yard")])
    assert "batch 0, yard: 3 images in " in done.err
    done, _ = served([], lambda client: [post(client, 3, "?target=yard")])
    assert "batch 0" not in done.err


def test_a_bundle_without_a_guard_and_an_open_address_are_warned_of(served: Callable[..., Any]) -> None:
    done, _ = served(
        ["--model", GOLDEN / "bundles" / "channel-none.gformer", "--host", "0.0.0.0"], lambda client: [post(client)]
    )
    assert "no calibrated guard" in done.err and "there is no password" in done.err and "Guard:" not in done.out


def test_what_cannot_be_served_is_told(gformer: Gformer, monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        refused = gformer("serve", "--model", GUARDED, "--port", port)
    assert refused.status == 2 and f"cannot listen on 127.0.0.1, port {port}: Address already in use" in refused.err
    static = gformer("serve", "--model", GOLDEN / "bundles" / "static.gformer", "--port", 0, "--context", 2)
    assert static.status == 2 and "--context has no effect on a static bundle" in static.err
    find = importlib.util.find_spec
    monkeypatch.setattr(
        importlib.util, "find_spec", lambda name, *more: None if name == "fastapi" else find(name, *more)
    )
    missing = gformer("serve", "--model", GUARDED)
    assert missing.status == 2 and "needs fastapi" in missing.err and "pip install 'gformer[serve]'" in missing.err


def multipart(file: Path) -> tuple[bytes, dict[str, str]]:
    head = f'--x\r\nContent-Disposition: form-data; name="i"; filename="{file.name}"\r\n\r\n'.encode()
    return head + file.read_bytes() + b"\r\n--x--\r\n", {"Content-Type": "multipart/form-data; boundary=x"}


def ask(port: int, file: Path) -> tuple[int, Any]:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
    connection.request("POST", "/predict?target=yard", *multipart(file))
    answer = connection.getresponse()
    return answer.status, json.loads(answer.read())


@pytest.mark.slow
@pytest.mark.parametrize(("number", "status"), [(signal.SIGTERM, 0), (signal.SIGINT, 130)])
def test_a_signal_finishes_what_was_accepted(number: int, status: int) -> None:
    words = ["serve", "--model", GUARDED, "--port", 0, "--max-wait", 60_000, "--device", "cpu", "--json"]
    command = [sys.executable, "-m", "gformer_cli", *map(str, words)]
    environment = os.environ | {"OMP_NUM_THREADS": "1", "NO_COLOR": "1"}
    with (
        subprocess.Popen(
            command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environment
        ) as process,
        ThreadPoolExecutor(5) as pool,
    ):
        assert process.stderr is not None
        port = int(process.stderr.readline().split(":")[-1].split("/")[0])
        waiting = [pool.submit(ask, port, file) for file in FILES[:5]]
        while health(port)["waiting"] < 5:
            time.sleep(0.05)
        process.send_signal(number)
        answers = [future.result(timeout=60) for future in waiting]
        out, error = process.communicate(timeout=60)
    assert [code for code, _ in answers] == [200] * 5
    assert [told["predictions"][0]["path"] for _, told in answers] == [file.name for file in FILES[:5]]
    assert process.returncode == status and error == ""
    assert json.loads(out)["images"] == 5


def health(port: int) -> Any:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
    connection.request("GET", "/healthz")
    return json.loads(connection.getresponse().read())
