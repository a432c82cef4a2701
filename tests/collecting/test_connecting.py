"""Connecting to a cluster, as far as no Ray is needed: tests/extras/test_ray*.py have the rest."""

import threading

import pytest

from qmu.collecting import cluster
from qmu.errors import ConfigError

ADDRESS = "ray://head:10001"
LOST = ConnectionAbortedError(
    "Initialization failure from server:\nRuntimeError: Starting Ray client server failed."
)


class Flaky:
    """A Ray whose connections end like this, one after another."""

    def __init__(self, *ends):
        self.ends, self.addresses = list(ends), []

    def init(self, address, **given):
        self.addresses.append(address)
        end = self.ends.pop(0)
        if end is not None:
            raise end


def test_a_driver_that_is_lost_while_it_starts_is_asked_for_again():
    ray = Flaky(LOST, LOST, None)
    cluster.connect(ray, ADDRESS, "--on")
    assert ray.addresses == [ADDRESS] * 3


def test_three_lost_drivers_are_enough():
    ray = Flaky(LOST, LOST, LOST, None)
    with pytest.raises(
        ConfigError, match=r"--on ray://head:10001: .*Starting Ray client server failed"
    ):
        cluster.connect(ray, ADDRESS, "--on")
    assert ray.ends == [None]


@pytest.mark.parametrize(
    ("address", "error", "words"),
    [
        ("ray://auto", ConnectionError("no GCS"), "this machine is a part of no cluster"),
        (
            ADDRESS,
            RuntimeError("Python 3.9 there\n\nPython 3.11 here"),
            "Python 3.9 there Python 3.11 here",
        ),
    ],
)
def test_what_would_fail_again_is_not_asked_for_again(address, error, words):
    ray = Flaky(error, None)
    with pytest.raises(ConfigError, match=words):
        cluster.connect(ray, address, "--on")
    assert ray.ends == [None]


def test_a_cluster_that_starts_nothing_is_given_up(monkeypatch):
    monkeypatch.setattr(cluster, "PATIENCE", 0.05)
    ends = threading.Event()

    class Stuck:
        def init(self, address, **given):
            ends.wait(10)

    with pytest.raises(ConfigError, match=r"--on ray://head:10001: the cluster starts no driver"):
        cluster.connect(Stuck(), ADDRESS, "--on")
    ends.set()
