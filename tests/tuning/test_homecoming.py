"""How a search is conducted and comes home, with a cluster that does what it is told."""

from types import SimpleNamespace

from qmu.study.mirror import Parcel
from qmu.tuning import plan, site
from qmu.tuning.search import RUNNING, WHOLE, Trial


class FakeRay:
    """A cluster whose one actor tells these trials, a list at each look, and never ends."""

    def __init__(self, looks):
        self.looks, self.brought, self.killed = iter(looks), [], []

    def remote(self, **resources):
        return lambda kind: SimpleNamespace(remote=lambda *arguments: self.conductor())

    def conductor(self):
        def bring(number):
            self.brought.append(number)
            return [Parcel({"run.json": b"{}"}, [])]

        asked = {"fit": lambda: None, "trials": lambda: next(self.looks), "bring": bring}
        return SimpleNamespace(
            **{name: SimpleNamespace(remote=answer) for name, answer in asked.items()}
        )

    def wait(self, answers, timeout):
        return [], answers

    def get(self, answer):
        return answer

    def kill(self, actor):
        self.killed.append(actor)


def test_each_trial_comes_home_once_when_it_has_ended(tmp_path):
    going = [Trial(n, {}, -5.0, (-5.0,), 100, 1.0, RUNNING, "") for n in range(2)]
    first = [going[0]._replace(status=WHOLE), going[1]]
    looks = [going, first, first]
    ray, shown = FakeRay(looks), []
    where = SimpleNamespace(ray=ray, storage="there", directory=tmp_path)
    found = site.conducted(where, None, None, shown.append, lambda: len(shown) == len(looks))
    assert found is None
    assert shown == looks
    assert ray.brought == [0]
    assert len(ray.killed) == 1
    assert [path.name for path in (tmp_path / site.RUNS).iterdir()] == ["trial-0000"]
    assert plan.kept_trials(tmp_path) == first
