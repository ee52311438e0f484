"""Which formats of image files are read. No torch here."""

from __future__ import annotations

from contextlib import suppress


def _formats() -> tuple[str, ...]:
    known = ["BMP", "DIB", "GIF", "JPEG", "JPEG2000", "PCX", "PNG", "PPM", "SGI", "TIFF", "WEBP"]
    with suppress(ImportError):  # Pillow before 11.3 has none
        from PIL import AvifImagePlugin

        known += ["AVIF"] if AvifImagePlugin.SUPPORTED else []
    with suppress(ImportError, OSError):  # OSError: installed, and a library of its is not
        import pillow_heif  # type: ignore[import-not-found,unused-ignore]

        pillow_heif.register_heif_opener()
        known.append("HEIF")
    return tuple(known)


FORMATS = _formats()
"""What is decoded, whatever a file's suffix says. MPO counts as JPEG; HEIF (HEIC) is there if pillow-heif is."""
