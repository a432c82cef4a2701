"""What is drawn into the pictures of a video: numbers, the action as bars, what a policy sees."""

from collections.abc import Sequence
from functools import cache
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

Picture = NDArray[np.uint8]  # [height, width, 3]
Floats = NDArray[np.float32]

# Smaller pictures are enlarged, so that there is room to read and draw in.
SMALLEST = 240
TEXT, FAINT = (255, 255, 255), (140, 140, 140)
# Colours that people with other colour vision tell apart (Okabe and Ito 2008).
UP, DOWN = (86, 180, 233), (230, 159, 0)
# What is left of the light behind text and bars, and what it is at least.
SHADE, DARK = 0.2, 32
# What a policy sees has this part of the picture's height.
SIGHT = 4
# The panel has this width at least, so that it does not change with every number.
WIDEST, LABEL = "return -1,000.0", "action"


def enlarged(picture: Picture) -> Picture:
    """Return a picture of even sides with room to draw in: pixels are repeated."""
    factor = -(-SMALLEST // min(picture.shape[:2]))
    if factor > 1:
        picture = picture.repeat(factor, axis=0).repeat(factor, axis=1)
    height, width = picture.shape[:2]
    # The codec's colours have half the resolution.
    return np.pad(picture, ((0, height % 2), (0, width % 2), (0, 0)), mode="edge")


def drawn(
    picture: Picture,
    lines: Sequence[str],
    action: Floats | None,
    sights: Sequence[NDArray[np.uint8]] = (),
) -> Picture:
    """Return a picture with lines of text and an action [action], in [-1, 1], drawn into it.

    Each dimension of the action is a bar, up from the middle where it is positive. `sights` are
    images [height, width, channels] that a policy is given: they go into the corner on the right.
    """
    from PIL import Image, ImageDraw

    size = max(15, min(picture.shape[:2]) // 28)
    font, gap, step = font_of(size), size // 2, size * 5 // 4
    shaded = picture.copy()
    across = max(font.getlength(line) for line in [*lines, WIDEST])
    shade(shaded, gap, gap, int(across) + 2 * gap, len(lines) * step + gap)
    bars = None if action is None else bars_of(shaded.shape, size, action)
    if bars is not None:
        field = max(bars.each * len(bars.action), int(font.getlength(LABEL))) + 2 * gap
        shade(shaded, gap, bars.top - step - gap, field, bars.height + step + 2 * gap)
    image = Image.fromarray(shaded)
    draw = ImageDraw.Draw(image)
    for index, line in enumerate(lines):
        draw.text((2 * gap, gap + gap // 2 + index * step), line, TEXT, font)
    top = gap
    for sight in sights:
        top += inset(image, draw, sight, (picture.shape[1] - gap, top)) + gap
    if bars is not None:
        draw.text((2 * gap, bars.top - step - gap // 2), LABEL, TEXT, font)
        draw_bars(draw, bars)
    return np.asarray(image)


def inset(image: Any, draw: Any, sight: NDArray[np.uint8], corner: tuple[int, int]) -> int:
    """Put what a policy sees into a picture, its upper right corner here; return its height."""
    from PIL import Image

    height = image.height // SIGHT
    width = max(1, round(height * sight.shape[1] / sight.shape[0]))
    right, top = corner
    small = Image.fromarray(colours_of(sight)).resize((width, height), Image.Resampling.NEAREST)
    image.paste(small, (right - width, top))
    draw.rectangle((right - width - 1, top - 1, right, top + height), outline=TEXT)
    return height


def colours_of(sight: NDArray[np.uint8]) -> Picture:
    """Return an image of any channels as red, green and blue: of several pictures the last one."""
    channels = sight.shape[2]
    if channels % 3 == 0:
        return np.ascontiguousarray(sight[:, :, -3:])
    if channels % 4 == 0:
        return np.ascontiguousarray(sight[:, :, -4:-1])
    return sight[:, :, -1:].repeat(3, axis=2)


class Bars(NamedTuple):
    """An action, and where its bars begin, how wide each is, and how high all of them."""

    action: Floats
    left: int
    top: int
    each: int
    height: int


def bars_of(shape: tuple[int, ...], size: int, action: Floats) -> Bars:
    """Return where the bars of an action are drawn: at the bottom on the left."""
    gap, height = size // 2, 4 * size
    each = max(1, min(size, (shape[1] - 4 * gap) // len(action)))
    return Bars(np.clip(action, -1, 1), 2 * gap, shape[0] - height - 2 * gap, each, height)


def draw_bars(draw: Any, bars: Bars) -> None:
    """Draw one bar per dimension of an action, and the lines that are -1, 0 and 1."""
    reach = bars.height // 2
    middle = bars.top + reach
    space = 1 if bars.each > 3 else 0
    right = bars.left + len(bars.action) * bars.each - 1
    for level in (middle - reach, middle + reach):
        draw.line((bars.left, level, right, level), fill=FAINT)
    for index, value in enumerate(bars.action):
        start, end = bars.left + index * bars.each, middle - round(float(value) * reach)
        box = (start + space, min(middle, end), start + bars.each - 1 - space, max(middle, end))
        draw.rectangle(box, fill=UP if value >= 0 else DOWN)
    draw.line((bars.left, middle, right, middle), fill=TEXT)


def shade(picture: Picture, left: int, top: int, width: int, height: int) -> None:
    """Darken a part of a picture, in place."""
    part = picture[top : top + height, left : left + width]
    part[:] = (part * SHADE + DARK).astype(np.uint8)


@cache
def font_of(size: int) -> Any:
    """Return the font that comes with Pillow, in this size."""
    from PIL import ImageFont

    return ImageFont.load_default(size)
