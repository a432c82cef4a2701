"""A limit for what hangs: where a signal helps, and where none does."""

import contextlib
import signal
import subprocess
import sys
import threading
import time

import pytest

import qmu
from qmu.collecting.limit import TimeLimit, TookTooLongError


def test_what_takes_too_long_is_interrupted_and_what_does_not_is_not():
    limit = TimeLimit(0.05)
    try:
        for _ in range(20):
            with limit:
                pass
        time.sleep(0.1)
        with pytest.raises(TookTooLongError, match=r"longer than 0\.05 s"), limit:
            time.sleep(10)
        with limit:
            pass
    finally:
        limit.close()
    assert signal.getsignal(signal.SIGALRM) == signal.SIG_DFL


def test_a_limit_that_is_over_at_once_leaves_no_timer_behind():
    limit = TimeLimit(0.001)
    try:
        for attempt in range(300):
            with contextlib.suppress(TookTooLongError), limit:
                time.sleep(0.0005 * (attempt % 5))
        assert signal.getitimer(signal.ITIMER_REAL) == (0, 0)
        time.sleep(0.01)
    finally:
        limit.close()


def test_each_of_several_limits_is_kept_whichever_is_made_or_closed_first():
    before, short, after = TimeLimit(30.0), TimeLimit(0.05), TimeLimit(30.0)
    for other in (before, after, None):
        with pytest.raises(TookTooLongError, match=r"longer than 0\.05 s"), short:
            time.sleep(10)
        if other is not None:
            other.close()
    short.close()
    short.close()
    assert signal.getsignal(signal.SIGALRM) == signal.SIG_DFL


def test_a_signal_that_comes_when_nothing_is_limited_does_nothing():
    limit = TimeLimit(30.0)
    signal.raise_signal(signal.SIGALRM)
    with limit:
        pass
    signal.raise_signal(signal.SIGALRM)
    limit.close()


def test_without_a_limit_nothing_is_touched():
    limit = TimeLimit(None)
    with limit, limit.watched(lambda: "never said"):
        assert signal.getsignal(signal.SIGALRM) == signal.SIG_DFL
    limit.close()


def test_another_thread_cannot_keep_a_limit():
    refused = []

    def make():
        try:
            TimeLimit(1.0)
        except qmu.ConfigError as error:
            refused.append(str(error))

    thread = threading.Thread(target=make)
    thread.start()
    thread.join()
    assert "--env.step-timeout needs" in refused[0]


STOPPED = """
import os, signal, subprocess, sys, time
from qmu.collecting.limit import TimeLimit
limit = TimeLimit(0.5)
again = f"sleep 3; kill -CONT {os.getpid()}"
with limit.watched(lambda: "it was ended"):
    with limit:
        time.sleep(0.1)
        subprocess.Popen(["sh", "-c", again])
        os.kill(os.getpid(), signal.SIGSTOP)
        time.sleep(0.1)
    print("it went on")
    try:
        with limit:
            time.sleep(10)
    except Exception as error:
        print(error)
"""


@pytest.mark.long
def test_time_in_which_the_process_is_stopped_does_not_count():
    done = subprocess.run(
        [sys.executable, "-c", STOPPED], capture_output=True, text=True, timeout=60, check=False
    )
    assert done.stderr == ""
    assert done.stdout == "it went on\nit took longer than 0.5 s (--env.step-timeout)\n"


@pytest.mark.long
def test_native_code_that_lets_no_thread_tick_counts():
    limit = TimeLimit(0.2)
    try:
        with pytest.raises(TookTooLongError), limit:
            # One call, which keeps all other threads waiting.
            sum(range(10**8))
    finally:
        limit.close()


def test_a_limit_leaves_no_thread_behind():
    before = threading.active_count()
    limit = TimeLimit(30.0)
    assert threading.active_count() == before + 1
    limit.close()
    assert threading.active_count() == before


NATIVE = """
import ctypes
import signal
from qmu.collecting.limit import TimeLimit
limit = TimeLimit(0.2)
signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGALRM])  # as native code that never comes back
with limit.watched(lambda: "it hangs: go on with this"), limit:
    ctypes.CDLL(None).sleep(1000)
"""


def test_what_hangs_in_native_code_ends_the_process_with_a_sentence():
    started = time.monotonic()
    done = subprocess.run(
        [sys.executable, "-c", NATIVE], capture_output=True, text=True, timeout=60, check=False
    )
    assert done.returncode == 1
    assert done.stderr == "it hangs: go on with this\n"
    assert time.monotonic() - started < 30
