"""Numbers, times and sizes in words."""

import pytest

from qmu.wording import counted, duration, sized


def test_a_thing_and_several():
    assert counted(1, "world") == "1 world"
    assert counted(2000, "world") == "2,000 worlds"


@pytest.mark.parametrize(
    ("seconds", "said"),
    [
        (0.4, "0 s"),
        (89, "89 s"),
        (95, "2 min"),
        (5380, "90 min"),
        (5400, "1.5 h"),
        (9e5, "250.0 h"),
    ],
)
def test_a_time(seconds, said):
    assert duration(seconds) == said


@pytest.mark.parametrize(
    ("mebibytes", "said"),
    [
        (0.03, "31 KiB"),
        (0.26, "0.3 MiB"),
        (9.94, "9.9 MiB"),
        (9.96, "10 MiB"),
        (999, "999 MiB"),
        (1024, "1.0 GiB"),
        (3 * 2**20, "3.0 TiB"),
    ],
)
def test_a_size(mebibytes, said):
    assert sized(mebibytes * 2**20) == said
