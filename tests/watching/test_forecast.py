"""How long the rest of a run takes, by a clock that is wound up by hand."""

import pytest

from qmu.collecting.evaluate import Score
from qmu.config import reading
from qmu.learning.events import Evaluated, Logged, Progress
from qmu.learning.needs import Seconds
from qmu.watching.forecast import Forecast

CHUNK = 32


def listening(steps=32_000, worlds=1, compiled=True, longest=200, learning_began=0, **train):
    """Return a forecast of a run with an evaluation of ten episodes in each quarter."""
    usual = {"total_steps": steps, "eval_interval": steps // 4, "eval_episodes": 10}
    config = reading.from_dict({"train": usual | {"final_episodes": 20, "learn_after": 0} | train})
    return Forecast(config, longest, 0, learning_began, compiled)


class Clock:
    """Plays a run to a forecast: chunks and evaluations that take as long as they are said to."""

    def __init__(self, forecast):
        self.forecast, self.now, self.step = forecast, 100.0, 0

    def chunks(self, number, seconds):
        for _ in range(number):
            self.now += seconds
            self.step += CHUNK
            self.forecast.hear(Progress(self.step), self.now)

    def evaluation(self, seconds, length=200, waiting=0.0):
        self.now += seconds + waiting
        score = Score((1.0,), (length,))
        self.forecast.hear(Evaluated(self.step, [score], [], [], seconds), self.now)

    def log(self, seconds):
        self.now += seconds
        self.forecast.hear(Logged(self.step, []), self.now)


def test_the_rest_is_steps_and_episodes_at_what_they_took():
    clock = Clock(listening())
    clock.chunks(2, 9.0)  # compiles
    clock.evaluation(5.0)
    clock.chunks(98, 0.5)
    # 900 chunks; 4 evaluations of 10 episodes and 20 more of 0.5 s.
    assert clock.forecast.left() == Seconds(pytest.approx(450.0), pytest.approx(30.0))
    assert clock.forecast.lines() == ["about 8 min left: 8 min of training, 30 s of evaluations"]


def test_what_is_done_in_between_is_part_of_training_but_for_its_first_time():
    clock = Clock(listening())
    clock.chunks(2, 9.0)
    for waiting in (7.0, 0.1, 0.1, 0.1):
        clock.chunks(4, 0.3)
        clock.evaluation(5.0, waiting=waiting)
    for seconds in (6.0, 0.2, 0.2):
        clock.chunks(4, 0.3)
        clock.log(seconds)
    each = (28 * 0.3 + 3 * 0.1 + 2 * 0.2) / 28
    assert clock.forecast.left().training == pytest.approx(970 * each, rel=0.01)


def test_nothing_is_said_before_enough_was_timed():
    clock = Clock(listening())
    clock.evaluation(5.0)
    clock.chunks(9, 1.0)
    assert clock.forecast.left() is None  # eight chunks without the first two
    clock.chunks(1, 1.0)
    assert clock.forecast.left() is not None
    clock = Clock(listening())
    clock.evaluation(5.0)
    clock.chunks(490, 0.01)
    assert clock.forecast.left() is None  # five seconds
    clock.chunks(20, 0.01)
    assert clock.forecast.left() is not None


def test_steps_without_updates_say_nothing_about_those_with_them():
    clock = Clock(listening(learning_began=50 * CHUNK))
    clock.chunks(50, 0.1)
    clock.evaluation(5.0)
    assert clock.forecast.left() is None
    clock.chunks(22, 1.0)
    assert clock.forecast.left().training == pytest.approx(928.0)
    # All of it is steps without updates here.
    for changes in ({"learning_began": 32_000}, {"updates_per_step": 0}):
        clock = Clock(listening(**changes))
        clock.chunks(50, 0.2)
        assert clock.forecast.left().training == pytest.approx(190.0)


def test_the_newest_times_count_most():
    clock = Clock(listening())
    clock.chunks(100, 1.0)
    clock.chunks(300, 0.5)
    assert clock.forecast.left().training == pytest.approx(600 * 0.5, rel=0.25)
    clock.evaluation(60.0)
    clock.evaluation(30.0)
    # What took 60 s counts 0.5 ** (30 / 60) as much; three evaluations and 20 episodes left.
    weight = 0.5**0.5
    each = (60 * weight + 30) / (10 * weight + 10)
    assert clock.forecast.left().evaluations == pytest.approx((3 * 10 + 20) * each)
    # Half the steps take half the time.
    clock.evaluation(0.0, length=100)
    assert clock.forecast.left().evaluations < 50 * each / 2


def test_nothing_is_said_of_a_run_that_ends_after_episodes():
    clock = Clock(listening(total_steps=None, total_episodes=10, eval_interval=100))
    clock.chunks(50, 1.0)
    assert clock.forecast.left() is None
    assert clock.forecast.lines() == []


def test_evaluations_that_have_most_of_the_time_are_named_with_what_lowers_it():
    clock = Clock(listening(eval_interval=320))
    clock.chunks(10, 0.5)
    clock.evaluation(10.0)
    clock.chunks(10, 0.5)
    # 980 chunks of 0.5 s; 98 evaluations of 10 s, and 20 episodes of 1 s.
    first, second = clock.forecast.lines()
    assert first == "about 25 min left: 8 min of training, 17 min of evaluations"
    assert second.startswith("evaluations have 67% of it: raise --train.eval-interval, or lower ")
    for name in ("--train.eval-episodes", "--train.final-episodes", "--env.episode-length"):
        assert name in second


def test_at_the_end_of_training_it_is_too_late_for_advice():
    clock = Clock(listening(steps=3200, eval_interval=0))
    clock.chunks(100, 0.1)
    assert clock.forecast.lines() == []
    clock.evaluation(10.0)
    assert clock.forecast.lines() == ["about 20 s left: 0 s of training, 20 s of evaluations"]


def test_episodes_that_may_get_longer_are_said_to():
    clock = Clock(listening(longest=1000))
    clock.chunks(10, 0.5)
    clock.evaluation(5.0, length=100)
    clock.chunks(90, 0.5)
    assert clock.forecast.lines() == [
        "about 8 min left: 8 min of training, 30 s of evaluations, up to 5 min if their episodes "
        "get longer"
    ]


def test_evaluations_that_come_late_are_left_out_and_a_short_rest_is_not_worth_a_line():
    clock = Clock(listening())
    clock.chunks(40, 0.5)
    assert clock.forecast.lines() == []
    clock.chunks(10, 0.5)
    assert clock.forecast.lines() == ["about 8 min of training left, without evaluations"]
    clock = Clock(listening(steps=3200))
    clock.evaluation(1.0)
    clock.chunks(80, 0.1)
    assert clock.forecast.left().total == pytest.approx(2 + 0.1 * (10 + 20))
    assert clock.forecast.lines() == []


def test_an_actor_that_is_compiled_first_is_timed_from_the_second_evaluation_on():
    clock = Clock(listening(compiled=False))
    clock.evaluation(50.0)
    clock.chunks(20, 0.5)
    assert clock.forecast.left().evaluations == 0
    clock.evaluation(5.0)
    assert clock.forecast.left().evaluations == pytest.approx(30.0)
