"""Draw a picture, vector or bitmap, centred on a white square of a given size."""

from __future__ import annotations

import io
from collections.abc import Callable

from PIL import Image

from mmcontrast.errors import MissingPackage

OVERSAMPLING = 4  # drawn this many times larger, then reduced: thin outlines survive

Rasteriser = Callable[[str, int], bytes]  # (SVG text, longer side in pixels) -> an image file Pillow reads


def resvg(svg: str, pixels: int) -> bytes:
    """Draw an SVG with resvg so that its longer side has ``pixels``.

    Raises:
        MissingPackage: resvg-py is not installed.
        ValueError: the text is not an SVG that resvg can draw.
    """
    try:
        import resvg_py
    except ImportError as error:
        raise MissingPackage("drawing SVG needs resvg-py: pip install resvg-py") from error
    # System fonts are skipped: a machine's own fonts would change the picture, and no icon holds text.
    # Without a dpi, resvg-py takes 0, and a drawing measured in millimetres has no size.
    drawn = resvg_py.svg_to_bytes(svg_string=svg, width=pixels, height=pixels, dpi=96.0, skip_system_fonts=True)
    return bytes(drawn)


def on_white_square(image: Image.Image, size: int) -> Image.Image:
    """Fit an image, transparent or not, into a white RGB square of ``size`` pixels, centred, aspect kept."""
    rgba = image.convert("RGBA")
    scale = size / max(rgba.size)
    width, height = (max(1, round(side * scale)) for side in rgba.size)
    # Pillow premultiplies alpha when it resizes RGBA, so no dark fringe appears at the outline.
    small = rgba.resize((width, height), Image.Resampling.LANCZOS)
    square = Image.new("RGBA", (size, size), (255, 255, 255, 255))
    square.alpha_composite(small, ((size - width) // 2, (size - height) // 2))
    return square.convert("RGB")


def svg_to_square(svg: str, size: int, *, mirrored: bool = False, rasteriser: Rasteriser = resvg) -> Image.Image:
    """Draw an SVG on a white RGB square of ``size`` pixels."""
    drawn = Image.open(io.BytesIO(rasteriser(svg, size * OVERSAMPLING)))
    square = on_white_square(drawn, size)
    return square.transpose(Image.Transpose.FLIP_LEFT_RIGHT) if mirrored else square


def webp(image: Image.Image, quality: int) -> bytes:
    """Encode as lossy WebP with the slowest, smallest search."""
    stream = io.BytesIO()
    image.save(stream, "WEBP", quality=quality, method=6)
    return stream.getvalue()
