"""The options of the encoder, which makes features of images."""

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass

from qmu.config.declared import NOT_NEGATIVE, POSITIVE, numeric, one_of, structural
from qmu.config.spelling import flag
from qmu.errors import ConfigError


@dataclass(frozen=True)
class Encoder:
    """What makes features of observed images, and its optimizer, Adam."""

    kind: str = structural(
        "strided",
        help="strides of its four convolutions: strided 2,2,2,1 (MR.Q), drqv2 2,1,1,1 (DrQ-v2)",
        rule=one_of("strided", "drqv2"),
    )
    features: int = structural(
        50, help="features of an image, by a layer behind the convolutions", rule=POSITIVE
    )
    lr: float = numeric(
        1e-4, help="learning rate, from the first update to the last", rule=NOT_NEGATIVE
    )
    shift: int = structural(
        4,
        help="pixels that images of a batch are shifted by at most, at random; 0: none",
        rule=NOT_NEGATIVE,
    )


def check_images(encoder: Encoder, images: Sequence[tuple[int, int, int]]) -> None:
    """Raise ConfigError where options about images are given that do not go with those observed.

    Args:
        encoder: the options.
        images: height, width and channels of each image of an observation.
    """
    for height, width, _ in images:
        if encoder.shift >= min(height, width):
            raise ConfigError(
                f"{flag('encoder', 'shift')} {encoder.shift} moves images of {height} x {width} "
                "pixels out of sight: give a few pixels, such as 4"
            )
    if images:
        return
    for option in dataclasses.fields(Encoder):
        if getattr(encoder, option.name) != option.default:
            raise ConfigError(
                f"{flag('encoder', option.name)} is about images, and there are none in this "
                "environment's observations: leave it out, or choose an environment that gives "
                "images"
            )
