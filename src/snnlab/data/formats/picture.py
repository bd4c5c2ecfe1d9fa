"""Pictures in the usual formats, as Pillow reads them: PNG, JPEG, BMP, GIF, TIFF, WebP, PGM and PPM.

What becomes of a picture: it is turned upright as its EXIF tag says; of several frames the first is taken; a palette
becomes its colours; what is transparent shows black; CMYK becomes red, green and blue; 16-bit grey is divided by 257.
"""

from __future__ import annotations

import io
import warnings
from pathlib import Path
from typing import Any, Literal

import numpy as np

from snnlab.data.files import is_html, read_bytes
from snnlab.errors import InputError, one_line

ENDINGS = (".png", ".jpg", ".jpeg", ".bmp", ".gif", ".tif", ".tiff", ".webp", ".pgm", ".ppm")
FORMATS = ("PNG", "JPEG", "BMP", "GIF", "TIFF", "WEBP", "PPM")
MOST_PIXELS = 60_000_000  # of one picture; a camera's have 50 million, and each takes 20 bytes here
GREY = ("1", "L", "LA", "I", "I;16", "I;16B", "I;16L")
TURNED = (5, 6, 7, 8)  # EXIF orientations in which width and height change places
Colour = Literal["grey", "rgb"]


def look_at(path: Path) -> tuple[Colour, tuple[int, int]]:
    """Return whether the picture at ``path`` is grey, and its height and width; nothing is decoded.

    Raises: InputError: as ``read_picture``.
    """
    return _opened(path, lambda image: _about(image))


def read_picture(path: Path, colour: Colour, size: tuple[int, int] | None, convert: bool = False) -> np.ndarray:
    """Return the picture at ``path``, uint8 [1 or 3, H, W].

    Args:
        colour: grey or rgb.
        size: height and width it is stretched to (bilinear, pixels averaged where it shrinks); None keeps it.
        convert: make colours grey where grey is asked for: 0.299 R + 0.587 G + 0.114 B (ITU-R BT.601).

    Raises: InputError: missing, no picture, damaged, too large, of other numbers than 8 or 16 bits, or coloured where
        grey is asked for, unless ``convert``.
    """

    def pixels(image: Any) -> np.ndarray:
        from PIL import Image, ImageOps

        coloured = _about(image)[0] == "rgb"
        if colour == "grey" and coloured and not convert:
            raise InputError(
                f"{path} has colours, and all are read as grey, as the first picture is; data.colour=rgb makes all of "
                "them coloured, data.colour=grey makes all of them grey"
            )
        image = ImageOps.exif_transpose(image)
        if image.mode == "F" or (image.mode == "I" and max(map(abs, image.getextrema())) > 65535):
            raise InputError(f"{path} has numbers of more than 16 bits; save it with 8 or 16 bits a colour")
        if image.mode.startswith("I"):
            values = np.asarray(image).astype(np.int32)
            deep = image.mode != "I" or values.max(initial=0) > 255
            image = Image.fromarray(((values + 128) // 257 if deep else values).clip(0, 255).astype(np.uint8))
        if image.mode in ("LA", "PA", "RGBA", "La", "RGBa") or "transparency" in image.info:
            image = image.convert("RGBA")
            image = Image.alpha_composite(Image.new("RGBA", image.size, (0, 0, 0, 255)), image)
        if coloured or colour == "rgb":
            image = image.convert("RGB")
        image = image.convert("L" if colour == "grey" else "RGB")
        if size is not None and image.size != size[::-1]:
            image = image.resize(size[::-1], Image.Resampling.BILINEAR)
        array = np.asarray(image)
        return array[None] if array.ndim == 2 else array.transpose(2, 0, 1)

    return _opened(path, pixels)


def _about(image: Any) -> tuple[Colour, tuple[int, int]]:
    width, height = image.size
    if image.getexif().get(0x0112, 1) in TURNED:
        width, height = height, width
    return "grey" if image.mode in GREY else "rgb", (height, width)


def _opened(path: Path, work: Any) -> Any:
    """Return ``work(image)`` of the picture at ``path``, whatever Pillow raises told in one line."""
    from PIL import Image

    content = read_bytes(path)
    if is_html(content[:512]):
        raise InputError(f"{path} is an HTML page, not a picture; copy or download it again")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of damaged tags, and of sizes that are checked here
            with Image.open(io.BytesIO(content), formats=FORMATS) as image:
                if image.width * image.height > MOST_PIXELS:
                    raise InputError(
                        f"{path} has {image.width} x {image.height} pixels, at most {MOST_PIXELS:,} are read; shrink it"
                    )
                return work(image)
    except InputError:
        raise
    except Exception as error:  # Pillow raises nearly anything on broken files
        why = one_line(error).partition("<")[0].strip() or type(error).__name__
        raise InputError(f"{path} is damaged or no picture ({why[:100]}); copy it again or take it out") from error
