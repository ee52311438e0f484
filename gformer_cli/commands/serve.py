"""`gformer serve`."""

from __future__ import annotations

import importlib.util
import signal
from typing import TYPE_CHECKING, Annotated

import typer

from gformer_cli.commands import options, trust
from gformer_cli.commands.locations import pick_model
from gformer_cli.commands.prediction import Prediction
from gformer_cli.console import Terminal, amount, differing, one_line
from gformer_cli.errors import InputError
from gformer_cli.serve.options import ServeOptions

if TYPE_CHECKING:
    from gformer_cli.adapt import Outcome
    from gformer_cli.serve.service import Service

_NEEDED = ("fastapi", "uvicorn", "python_multipart", "prometheus_client")
_LOCAL = ("127.0.0.1", "localhost", "::1")

Host = Annotated[
    str,
    typer.Option("--host", help="The address to listen on; 0.0.0.0 opens it to the network."),
]
Port = Annotated[int, typer.Option("--port", min=0, max=65535, help="0 takes a free one.")]
MaxWait = Annotated[
    float,
    typer.Option(
        "--max-wait",
        metavar="MS",
        parser=options.not_negative,
        help="Milliseconds that an image of a named target waits for others to share its batch.",
    ),
]
Queue = Annotated[
    int,
    typer.Option(
        "--queue", metavar="N", min=1, help="Images that may wait or be in work; more are refused with status 503."
    ),
]
MaxRequest = Annotated[
    int,
    typer.Option("--max-request", metavar="MB", min=1, max=4096, help="Largest request; others get status 413."),
]
ServedBatch = Annotated[int, typer.Option("--batch-size", min=1, help="Images that are predicted together, at most.")]


def serve(
    model: options.PredictingModel = None,
    run: options.Run = None,
    host: Host = "127.0.0.1",
    port: Port = 8000,
    batch_size: ServedBatch = 32,
    max_wait: MaxWait = 50.0,
    queue: Queue = 1024,
    max_request: MaxRequest = 32,
    context: options.ContextBatches = 0,
    temperature: options.Temperature = None,
    backbone: options.OwnBackbone = None,
    white_level: options.WhiteLevel = None,
    device: options.Device = "auto",
    precision: options.PrecisionOption = options.Precision.float32,
    workers: options.Workers = None,
    threads: options.Threads = None,
    json: options.Json = False,
    quiet: options.Quiet = False,
    verbose: options.Verbose = False,
    debug: options.Debug = False,
    guard: trust.GuardOption = trust.GuardMode.on,
    guard_limit: trust.GuardLimits = None,
) -> None:
    """Predict images that are sent by HTTP: POST /predict. Needs pip install 'gformer\\[serve]'.

    Images of one batch influence each other's prediction. By default only those of one request share a batch.
    Requests with the same name behind ?target= are of one condition, and share batches with each other.

    GET /healthz tells whether it works, GET /metrics counts for Prometheus. SIGTERM finishes what was accepted.

    Example: gformer serve --model site.gformer

    Example: curl -F images=@one.jpg -F images=@two.jpg 'http://127.0.0.1:8000/predict?target=yard'
    """
    missing = [name.replace("_", "-") for name in _NEEDED if importlib.util.find_spec(name) is None]
    if missing:
        raise InputError(f"gformer serve needs {', '.join(missing)}", "Install it: pip install 'gformer[serve]'")
    terminal = Terminal(as_json=json, quiet=quiet, verbose=verbose)
    own = backbone, white_level, temperature, device, precision.value, workers, threads
    how = Prediction(pick_model(terminal, model, run), *own)
    wanted = ServeOptions(batch_size, max_wait / 1000.0, queue, max_request << 20, context)

    from gformer_cli.serve.app import create_app
    from gformer_cli.serve.server import listen, url_of
    from gformer_cli.serve.server import run as serve_until_stopped

    with listen(host, port) as listening:  # before the model is loaded: a taken port is told at once
        trusted = trust.Trust(guard, guard_limit or [], audit=None, append=False, parameters=None)
        service = _service(terminal, how, wanted, trusted)
        url = url_of(listening)
        if host not in _LOCAL:
            terminal.warning(f"whoever reaches {url} can have images predicted: there is no password")
        terminal.message(f"Serving {how.model}: POST images to {url}/predict")
        stopped_by = serve_until_stopped(create_app(service), listening, service.batcher.hurry)
    counts = service.metrics.counts()
    terminal.result(
        {"model": str(how.model), "url": url, **counts},
        f"\n{amount(counts['images'], 'image', 'images')} in {amount(counts['batches'], 'batch', 'batches')}; "
        f"{differing(counts['changed'])}",
        *(trust.counted(counts["decisions"]) if service.guard != "off" else []),
    )
    if stopped_by == signal.SIGINT:
        raise typer.Exit(130)


def _service(terminal: Terminal, how: Prediction, wanted: ServeOptions, trusted: trust.Trust) -> Service:
    from gformer_cli.compute.device import make_deterministic, pick_pace
    from gformer_cli.progress import Silent
    from gformer_cli.serve.service import Service

    bundle, device, workers, cores = how.load(terminal)
    bundle.check_memory(wanted.batch_size, device)
    how.check_context(bundle, wanted.context)
    rule = trusted.rule(bundle)
    trusted.tell(terminal, bundle, rule)
    make_deterministic(0)

    def told(outcome: Outcome) -> None:
        about = f"batch {outcome.number}, {outcome.target}: {len(outcome.probabilities)} images"
        doubts = f", {trust.told(outcome.verdict)}" if outcome.verdict.reasons else ""
        terminal.detail(f"{one_line(about)} in {outcome.seconds:.2f} s{doubts}")

    return Service(
        bundle,
        device,
        wanted,
        guard=rule,
        obeyed=trusted.obeyed,
        precision=how.precision,
        pace=pick_pace(cores, device, Silent()),
        decoders=workers,
        told=told,
    )
