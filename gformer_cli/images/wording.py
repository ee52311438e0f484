"""How images become the network's input, in words. No torch here."""

from __future__ import annotations

from gformer_cli.settings import DataSettings


def describe_input(data: DataSettings) -> str:
    """Such as `224 x 224: shorter side to 256, centre cropped, bilinear; read plain`."""
    parts = [f"{data.image_size} x {data.image_size}: {_shape(data)}, {data.interpolation}"]
    if not data.antialias:
        parts[0] += " without antialias"
    if data.channels != "rgb":
        parts.append({"bgr": "blue, green, red", "grey": "grey in three channels"}[data.channels])
    parts.append(f"read {data.reading}")
    return "; ".join(parts)


def _shape(data: DataSettings) -> str:
    size = data.resize_size
    if data.resize == "pad":
        padded = "padded" if size is None or size <= data.image_size else "centre cropped or padded"
        return f"longer side to {size or data.image_size}, {padded}"
    if size is None:
        return "both sides resized" if data.resize == "stretch" else "square of the centre resized"
    middle = "padded" if size < data.image_size else "centre cropped"
    return f"{'both sides' if data.resize == 'stretch' else 'shorter side'} to {size}, {middle}"
