"""Images with text on them, drawn with the fonts that matplotlib brings."""

from dataclasses import dataclass
from pathlib import Path

import matplotlib as mpl
import numpy as np
from PIL import Image, ImageDraw, ImageFont

from fogline.tensors import Array

Colour = tuple[int, int, int]
BLACK: Colour = (0, 0, 0)
WHITE: Colour = (255, 255, 255)


@dataclass(frozen=True)
class Line:
    """One line of text: where its top left corner lies, and how it looks."""

    text: str
    at: tuple[int, int]
    font: str = "DejaVuSans"
    size: int = 36
    colour: Colour = BLACK


NAMEPLATE = (
    Line("Pressure valve 27 is open", (40, 30), size=40),
    Line("Temperature: 81.4 C", (40, 130), font="DejaVuSerif", colour=(0, 0, 128)),
    Line("Batch 0093 packed", (40, 230), font="DejaVuSansMono", size=34, colour=(139, 0, 0)),
    Line("Do not open while running", (40, 330), font="DejaVuSans-Bold", size=30),
)


def draw(lines: tuple[Line, ...], size: tuple[int, int], background: Colour = WHITE) -> Image.Image:
    image = Image.new("RGB", size, background)
    pen = ImageDraw.Draw(image)
    for line in lines:
        pen.text(line.at, line.text, fill=line.colour, font=_font(line))
    return image


def upside_down(line: Line, size: tuple[int, int], background: Colour = WHITE) -> Image.Image:
    return draw((line,), size, background).rotate(180)


def pixels(image: Image.Image) -> Array:
    """RGB, uint8 [height, width, 3]."""
    return np.asarray(image.convert("RGB"))


def scenes() -> dict[str, Array]:
    """Level, slanted, upside-down, standing and mixed text; and none."""
    plate = draw(NAMEPLATE, (900, 420))
    dark: Colour = (30, 60, 40)
    board = draw(
        (
            Line("Line 4", (20, 20), size=28, colour=(255, 255, 0)),
            Line("Quality check passed", (20, 120), size=44, colour=WHITE),
        ),
        (640, 480),
        dark,
    )
    upright = Line("KEEP UPRIGHT", (5, 5), size=34, colour=WHITE)
    board.paste(upside_down(upright, (300, 50), dark), (60, 300))
    board.paste(draw((upright,), (300, 50), dark).rotate(90, expand=True), (560, 150))
    return {
        "plate": pixels(plate),
        "turned": pixels(plate.rotate(180)),
        "slanted": pixels(plate.rotate(7, Image.Resampling.BICUBIC, expand=True, fillcolor=WHITE)),
        "board": pixels(board),
        "empty": np.full((240, 320, 3), 128, np.uint8),
    }


def _font(line: Line) -> ImageFont.FreeTypeFont:
    path = Path(mpl.get_data_path()) / "fonts" / "ttf" / f"{line.font}.ttf"
    return ImageFont.truetype(str(path), line.size)
