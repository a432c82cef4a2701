"""Options about images where none are observed."""

import pytest

from qmu import config
from qmu.config.encoder import check_images
from qmu.config.reading import from_dict
from qmu.errors import ConfigError


def test_options_of_an_encoder_need_an_image():
    plain = from_dict({}).encoder
    check_images(plain, [])
    for name, value in {"kind": "drqv2", "features": 20, "lr": 1e-3, "shift": 0}.items():
        given = from_dict({"encoder": {name: value}}).encoder
        assert given != plain
        check_images(given, [(32, 40, 3)])
        with pytest.raises(ConfigError, match=f"--encoder.{name} is about images"):
            check_images(given, [])


def test_an_image_is_not_shifted_out_of_sight():
    given = from_dict({"encoder": {"shift": 32}}).encoder
    check_images(given, [(33, 40, 3)])
    for image in ((32, 40, 3), (40, 32, 3)):
        with pytest.raises(
            ConfigError, match=r"--encoder.shift 32 moves images of .* out of sight"
        ):
            check_images(given, [image])


@pytest.mark.parametrize(
    ("name", "value"), [("kind", "impala"), ("features", 0), ("lr", -1), ("shift", -1)]
)
def test_values_out_of_range(name, value):
    with pytest.raises(ConfigError, match=f"--encoder.{name}"):
        from_dict({"encoder": {name: value}})


def test_defaults():
    assert config.Encoder() == config.Encoder("strided", 50, 1e-4, 4)
