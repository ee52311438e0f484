"""Many clients of `gformer serve` at once: is a request lost, and how long does one take?

    python benchmarks/serve.py [--model run/model.gformer] [--clients 16] [--requests 2000] [--images 1] [--targets 4]

Each client sends one request after the other, JPEGs of noise, and checks that the answer is about its own images.
Clients share `--targets` targets, as cameras of a site do; with 0 they name none, and no request shares a batch. At
the end each client sends one more request, and the server gets SIGTERM while it works. Without --model it serves a
ResNet-18 of random weights at 64 pixels, with the generator that comes with gformer.
"""

from __future__ import annotations

import argparse
import http.client
import io
import json
import signal
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import torchvision
from PIL import Image

import gformer_cli as gformer


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", type=Path)
    parser.add_argument("--clients", type=int, default=16)
    parser.add_argument("--requests", type=int, default=2000)
    parser.add_argument("--images", type=int, default=1, help="in a request")
    parser.add_argument("--targets", type=int, default=4)
    parser.add_argument("--max-wait", type=float, default=20.0, help="milliseconds")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        model = options.model or make_model(Path(folder) / "resnet18.gformer")
        command = [sys.executable, "-m", "gformer_cli", "serve", "--model", model, "--port", 0, "--json"]
        words = [str(word) for word in [*command, "--max-wait", options.max_wait, "--device", "cpu"]]
        process = subprocess.Popen(words, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        assert process.stderr is not None
        address = next(line for line in process.stderr if "Serving" in line).split("http://")[1].split("/")[0]
        threading.Thread(target=process.stderr.read, daemon=True).start()
        figures = load(address, options)
        answered = stopped(process, address, options)
        out, _ = process.communicate(timeout=120)
    served = json.loads(out)
    sent = options.requests + options.clients
    figures |= {
        "images in a batch": round(served["images"] / served["batches"], 1),
        "answered after SIGTERM": f"{answered} of {options.clients}",
        "exit status": process.returncode,
    }
    print("\n".join(f"{name}: {value}" for name, value in figures.items()))
    if figures["lost"] or answered < options.clients or process.returncode or served["images"] != sent * options.images:
        raise SystemExit("requests were lost")


def make_model(path: Path) -> Path:
    transform = {"resize": 72, "crop": 64, "mean": [0.485, 0.456, 0.406], "std": [0.229, 0.224, 0.225]}
    network = torchvision.models.resnet18(num_classes=10)
    gformer.wrap(network, list("abcdefghij"), transform, device="cpu").save(path, backbone="resnet18")
    return path


class Client:
    """One that sends images of its own, over one connection."""

    def __init__(self, address: str, number: int, images: int, targets: int) -> None:
        self.connection = http.client.HTTPConnection(address, timeout=120)
        self.query = f"?target=camera-{number % targets}" if targets else ""
        self.names = [f"client-{number}-{place}.jpg" for place in range(images)]
        random = np.random.default_rng(number)
        body = b""
        for name in self.names:
            stream = io.BytesIO()
            Image.fromarray(random.integers(0, 256, (200, 200, 3), dtype=np.uint8)).save(stream, "JPEG")
            head = f'--x\r\nContent-Disposition: form-data; name="images"; filename="{name}"\r\n\r\n'
            body += head.encode() + stream.getvalue() + b"\r\n"
        self.body = body + b"--x--\r\n"

    def ask(self) -> bool:
        """Whether the answer came, and is about these images."""
        headers = {"Content-Type": "multipart/form-data; boundary=x"}
        self.connection.request("POST", f"/predict{self.query}", self.body, headers)
        answer = self.connection.getresponse()
        told = json.loads(answer.read())
        return answer.status == 200 and [row["path"] for row in told["predictions"]] == self.names


def load(address: str, options: argparse.Namespace) -> dict[str, object]:
    """Requests of all clients, and their times."""
    seconds: list[float] = []
    lost: list[str] = []
    left = iter(range(options.requests))
    lock = threading.Lock()

    def run(number: int) -> None:
        client = Client(address, number, options.images, options.targets)
        while True:
            with lock:
                if next(left, None) is None:
                    return
            began = time.perf_counter()
            try:
                fine = client.ask()
            except OSError as error:
                fine = False
                print(f"client {number}: {error}", file=sys.stderr)
            with lock:
                seconds.append(time.perf_counter() - began)
                lost.extend([] if fine else [str(number)])

    began = time.perf_counter()
    with ThreadPoolExecutor(options.clients) as pool:
        list(pool.map(run, range(options.clients)))
    took = time.perf_counter() - began
    shares = statistics.quantiles(seconds, n=100)
    return {
        "requests": len(seconds),
        "lost": len(lost),
        "requests a second": round(len(seconds) / took, 1),
        "p50 ms": round(1000 * shares[49]),
        "p95 ms": round(1000 * shares[94]),
    }


def stopped(process: subprocess.Popen[str], address: str, options: argparse.Namespace) -> int:
    """How many requests are answered that the server had when it was told to stop."""
    clients = [Client(address, number, options.images, options.targets) for number in range(options.clients)]
    for client in clients:
        client.connection.connect()
    before = accepted(address)
    with ThreadPoolExecutor(options.clients) as pool:
        waiting = [pool.submit(client.ask) for client in clients]
        while accepted(address) < before + options.clients:
            time.sleep(0.001)
        process.send_signal(signal.SIGTERM)
        return sum(future.result() for future in waiting)


def accepted(address: str) -> int:
    """Images that the server has taken so far, predicted or not."""
    connection = http.client.HTTPConnection(address, timeout=120)
    connection.request("GET", "/metrics")
    lines = connection.getresponse().read().decode().splitlines()
    found = dict(line.rsplit(" ", 1) for line in lines if not line.startswith("#"))
    return int(float(found["gformer_queue_images"]) + float(found["gformer_images_total"]))


if __name__ == "__main__":
    main()
