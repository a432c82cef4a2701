"""What MuJoCo says is heard while worlds are at work, and by nobody else's handler."""

import subprocess
import sys

import mujoco
import pytest

from qmu.world import hearing

MODEL = """
<mujoco><worldbody><body><joint type="slide"/><geom size=".1" mass="1"/></body></worldbody></mujoco>
"""


def blow_up(speed=1e300):
    model = mujoco.MjModel.from_xml_string(MODEL)
    data = mujoco.MjData(model)
    data.qvel[0] = speed
    mujoco.mj_step(model, data)


@pytest.fixture(autouse=True)
def nothing_heard_before(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    hearing.take()
    # Other tests of the process may have imported dm_control.
    before = mujoco.get_mju_user_warning()
    mujoco.set_mju_user_warning(None)
    yield
    mujoco.set_mju_user_warning(before)


def test_each_kind_is_kept_once_and_neither_printed_nor_written(tmp_path, capfd):
    with hearing.heard():
        blow_up()
        blow_up(float("nan"))
    (said,) = hearing.take()
    assert said.startswith("Nan, Inf or huge value in QVEL at DOF 0.")
    assert hearing.take() == []
    assert capfd.readouterr() == ("", "")
    assert list(tmp_path.iterdir()) == []


def test_the_handler_is_given_back():
    with hearing.heard():
        with hearing.heard():
            pass
        assert mujoco.get_mju_user_warning() is hearing.hear
    assert mujoco.get_mju_user_warning() is None


def test_a_handler_of_the_users_own_is_left_alone():
    own = []
    handler = own.append
    mujoco.set_mju_user_warning(handler)
    with hearing.heard():
        blow_up()
    assert mujoco.get_mju_user_warning() is handler
    assert len(own) == 1
    assert hearing.take() == []


def test_a_world_that_takes_the_handler_keeps_it():
    with hearing.heard():
        mujoco.set_mju_user_warning(print)
    assert mujoco.get_mju_user_warning() is print


# A world may import MuJoCo when it is made. Before that it is not there, nor does it become.
LATE = f"""
import sys
from qmu.world.hearing import heard, take
with heard():
    pass
finders = len(sys.meta_path)
assert "mujoco" not in sys.modules
with heard():
    import mujoco
    assert mujoco.__spec__.loader is mujoco.__loader__
    assert type(mujoco.__loader__).__name__ == "SourceFileLoader"
    data = mujoco.MjData(model := mujoco.MjModel.from_xml_string('''{MODEL}'''))
    data.qvel[0] = 1e300
    mujoco.mj_step(model, data)
assert len(sys.meta_path) == finders
assert mujoco.get_mju_user_warning() is None
print(*take())
"""


def test_mujoco_is_heard_from_its_first_word_and_not_imported_for_it(tmp_path):
    done = subprocess.run([sys.executable, "-c", LATE], capture_output=True, text=True, check=False)
    assert done.stderr == ""
    assert done.stdout.count("\n") == 1
    assert "in QVEL at DOF 0" in done.stdout
    assert list(tmp_path.iterdir()) == []


def test_what_nobody_writes_down_is_passed_on_if_it_matters():
    hearing.note(["compiler attribute 'x' is deprecated", "nconmax is too small: 12"])
    with pytest.warns(RuntimeWarning) as told, hearing.aloud():
        pass
    assert [str(one.message) for one in told] == ["MuJoCo said: nconmax is too small: 12"]
