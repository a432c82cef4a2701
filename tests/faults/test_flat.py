"""Nothing grows while a run goes on: memory, file descriptors, threads, child processes."""

import time

import numpy as np
import psutil
import pytest
import runs

import qmu
from qmu.config import reading
from qmu.learning.loop import Due, Evaluated, Logged, Trainer
from qmu.runs.record import open_record
from qmu.world.make import find_maker

SECONDS = runs.count(90, 600)
SAMPLES = 30


@pytest.mark.fault
def test_memory_descriptors_threads_and_children_stay_flat(tmp_path):
    changes = {
        "env": {"id": "Pendulum-v1", "count": 2},
        "replay": {"capacity": 500, "priorities": "td-error"},
        "log": {"tensorboard": True, "interval": 100},
        "train": {"total_steps": 10**8, "schedule_steps": 10**8, "save_interval": 500},
    }
    config = reading.from_dict(runs.options(tmp_path, changes))
    trainer = Trainer(config, find_maker("Pendulum-v1"))
    record = open_record(trainer, None, print)
    process, samples = psutil.Process(), []
    # What a run allocates once, it has allocated when the stream is full and all was done once.
    began = time.monotonic() + min(SECONDS / 4, 30)
    for event in trainer.run(10**8):
        if isinstance(event, Logged | Evaluated | Due):
            record.hear(event)
        now = time.monotonic()
        if now > began + len(samples) * SECONDS / SAMPLES:
            samples.append(
                (
                    process.memory_info().rss / 2**20,
                    process.num_fds(),
                    process.num_threads(),
                    len(process.children(recursive=True)),
                )
            )
        if len(samples) == SAMPLES:
            break
    trainer.close()
    record.close()
    memory, descriptors, threads, children = np.array(samples).T
    assert trainer.step > 5000
    assert set(children) == {0}
    assert max(threads) - min(threads) <= 1
    assert max(descriptors) - min(descriptors) <= 2
    # The slope over the second half, in MiB per 1,000 saves: a leak of one stream would be 10.
    half = memory[SAMPLES // 2 :]
    grown = np.polyfit(np.arange(len(half)), half, 1)[0] * len(half)
    assert grown < 8, memory.round(1)
    # One checkpoint's files, and not one per save.
    assert len(list((record.directory / "checkpoints" / "segments").iterdir())) < 10


def test_models_leave_no_descriptor_and_no_thread(tmp_path):
    process = psutil.Process()
    counts = []
    for index in range(6):
        model = qmu.DDPG("Pendulum-v1", seed=index, **runs.of_a_model(runs.SMALL))
        model.learn(60)
        model.close()
        counts.append((process.num_fds(), process.num_threads()))
    assert counts[-1] == counts[1]
