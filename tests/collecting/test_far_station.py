"""Workers on Ray, as far as no Ray is needed: tests/extras/test_ray_workers.py has the rest."""

import pickle
import sys

import pytest
import runs

import qmu
from qmu import cli
from qmu.collecting.cluster import Cluster
from qmu.collecting.elsewhere import READY, REFUSED, hello_of
from qmu.collecting.far_station import FarQuarters, check_room
from qmu.collecting.station import Post
from qmu.config import reading
from qmu.config.files import read_toml
from qmu.errors import ConfigError
from qmu.learning.loop import Trainer
from qmu.runs.resume import resumed_config
from qmu.world.make import find_maker


def test_without_ray_it_is_said_how_to_install_it(tiny_config, monkeypatch):
    monkeypatch.setitem(sys.modules, "ray", None)
    for name in ("RAY_AUTH_MODE", "RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER", "RAY_USAGE_STATS_ENABLED"):
        monkeypatch.setenv(name, "0")
    config = tiny_config(env={"workers": "ray:1"})
    with pytest.raises(ConfigError, match=r"--env\.workers needs .*pip install 'qmu\[ray\]'"):
        Trainer(config, find_maker("Pendulum-v1"))


@pytest.mark.parametrize(
    ("env", "words"),
    [
        ({"workers": "ray:2"}, "--env.workers ray:2: there are only 1 world"),
        ({"workers": "ray:1", "cluster": "there"}, "--env.cluster there: give `ray` "),
    ],
)
def test_what_cannot_be_is_said_before_ray_is_asked(tiny_config, env, words):
    with pytest.raises(ConfigError, match=words):
        Trainer(tiny_config(env=env), find_maker("Pendulum-v1"))


def test_a_cluster_has_a_processor_for_each_worker(tiny_config):
    env = tiny_config(env={"workers": "ray:3", "count": 3}).env
    check_room(Cluster(cpus=3, gpus=0, own=False), env)
    # A cluster that was started for the run has nobody else on it.
    check_room(Cluster(cpus=1, gpus=0, own=True), env)
    with pytest.raises(ConfigError, match=r"3 workers take a processor each, and .* has 2"):
        check_room(Cluster(cpus=2, gpus=0, own=False), env)


def test_a_node_without_the_module_of_a_world_says_so(tiny_config, monkeypatch):
    for name in ("OMP_NUM_THREADS", "JAX_PLATFORMS"):
        monkeypatch.setenv(name, "as it was")
    env = tiny_config(env={"workers": "ray:1"}).env
    hello = hello_of(
        find_maker("Pendulum-v1"), env, [Post(0, tiny_config().explore)], range(1), None
    )
    quarters = FarQuarters()
    assert pickle.loads(quarters.begin(hello)) == (READY, None)
    quarters.end()
    kind, why = pickle.loads(quarters.begin(pickle.dumps((None, b"cnot_there\nWorld\n."))))
    assert kind == REFUSED
    assert "No module named 'not_there': install there what the worlds need" in why


@pytest.mark.long
def test_the_place_of_workers_may_change_when_a_run_goes_on_and_their_number_not(tmp_path):
    run = qmu.open_run(runs.train(tmp_path, env={"count": 2, "workers": 2}))
    before = run.config
    text = (run.directory / "config.toml").read_text()
    changes = 'workers = "ray:2"\ncluster = "ray://auto"'
    there = text.replace("workers = 2", changes).replace('cluster = "ray"\n', "")
    (run.directory / "config.toml").write_text(there)
    moved = resumed_config(qmu.open_run(run.directory), before, {})
    assert moved.env.workers == "ray:2"
    (run.directory / "config.toml").write_text(text.replace("workers = 2", 'workers = "ray:1"'))
    with pytest.raises(ConfigError, match=r"--env\.workers was 2"):
        resumed_config(qmu.open_run(run.directory), before, {})


STUDY = """
question = "Where?"
environments = ["Pendulum-v1"]
seeds = 1
total_steps = 2000
[options.env]
workers = "ray:1"
[arms]
one = {}
"""


def test_what_is_trained_on_ray_has_its_worlds_beside_it(tmp_path, capsys):
    file = tmp_path / "study.toml"
    file.write_text(STUDY)
    for words in (
        ["study", str(file), "--on", "ray", "--dry-run"],
        ["tune", "Pendulum-v1", "--env.workers", "ray:1", "--train.total-steps", "2000"],
    ):
        assert cli.main(words) == 2
        assert "takes the cluster's processors" in capsys.readouterr().err


def test_the_command_line_takes_workers_as_text(tmp_path, capsys):
    words = ["train", "Pendulum-v1", "--log.dir", str(tmp_path), "--env.workers"]
    for given, told in (("ray", "'ray' is not a number"), ("ray:0", "ray:N with an N of 1 or")):
        assert cli.main([*words, given]) == 2
        assert told in capsys.readouterr().err
    file = tmp_path / "own.toml"
    file.write_text('[env]\nworkers = "ray:4"\n')
    assert reading.from_dict(read_toml(file)).env.workers.number == 4
