"""Policies of observations with images, in every format."""

import dataclasses

import numpy as np
import pytest
from budget import some
from policies import SIGHTS, draw_sight, make_with_images

import qmu
from qmu.deploy import files
from qmu.layout import seen
from qmu.parts import join
from qmu.shipping import export
from qmu.shipping.export import make_export, observations

FORMATS = [
    ".npz",
    pytest.param(".onnx", marks=pytest.mark.extra),
    pytest.param(".pt", marks=pytest.mark.extra),
]
KINDS = [(name, frames) for name in SIGHTS for frames in (1, 3)]


def loaded(folder, policy, ending):
    pytest.importorskip({".onnx": "onnx", ".pt": "torch", ".npz": "numpy"}[ending])
    path = folder / f"policy{ending}"
    path.write_bytes(files.packed(ending, policy))
    return qmu.load(path)


def take(sights, rows):
    """Return rows of a batch of observations."""
    if isinstance(sights, dict):
        return {name: take(own, rows) for name, own in sights.items()}
    return sights[rows]


@pytest.mark.parametrize("ending", FORMATS)
@pytest.mark.parametrize(("name", "frames"), some(KINDS, [KINDS[1], KINDS[-1]]))
def test_a_file_does_what_the_trained_actor_does(monkeypatch, tmp_path, ending, name, frames):
    """On observations that are, with a past, of episodes: `make_export` compares with JAX."""
    monkeypatch.setattr(export, "OBSERVATIONS", 20)
    monkeypatch.setattr(export, "EPISODE", 5)
    monkeypatch.setattr(export, "CALLS", 3)
    monkeypatch.setattr(export, "CUT", 4)
    pytest.importorskip({".onnx": "onnx", ".pt": "torch", ".npz": "numpy"}[ending])
    policy = make_with_images(SIGHTS[name], frames, normalized=name == "beside numbers")
    made = make_export(policy, tmp_path / f"p{ending}", observations(policy, None))
    assert made.difference < 1e-5


@pytest.mark.parametrize("ending", FORMATS)
@pytest.mark.parametrize("name", SIGHTS)
def test_images_are_taken_as_the_environment_gives_them(tmp_path, ending, name):
    policy = make_with_images(SIGHTS[name])
    call = loaded(tmp_path, policy, ending)
    one, several = draw_sight(SIGHTS[name]), draw_sight(SIGHTS[name], 4)
    rows = join(SIGHTS[name], one)
    # The row's numbers and images, put into the network by hand.
    expected = policy.network(policy.network.encoded(seen(policy.layout, rows[None])))
    expected = 0.5 * (1 - expected) * policy.low + 0.5 * (1 + expected) * policy.high
    np.testing.assert_allclose(call(one), expected[0], rtol=1e-4, atol=1e-5)
    actions = call(several)
    assert actions.shape == (4, 2)
    assert np.abs(np.diff(actions, axis=0)).min() > 1e-6
    np.testing.assert_allclose(call.batch(several), policy.batch(several), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("ending", FORMATS)
def test_images_have_a_past(tmp_path, ending):
    parts = SIGHTS["beside numbers"]
    policy = make_with_images(parts, 2)
    call = loaded(tmp_path, policy, ending)
    sights = [draw_sight(parts, seed=seed) for seed in range(3)]
    call.reset()
    alone = [call(one) for one in sights]
    state, along = call.initial_state(), []
    for one in sights:
        action, state = call.step(one, state)
        along.append(action)
    np.testing.assert_array_equal(alone, along)
    rows = [join(parts, one) for one in sights]
    for time, action in enumerate(along):
        pair = np.stack([rows[max(time - 1, 0)], rows[time]])
        expected = policy.network(policy.network.encoded(seen(policy.layout, pair[None])))
        expected = 0.5 * (1 - expected) * policy.low + 0.5 * (1 + expected) * policy.high
        np.testing.assert_allclose(action, expected[0], rtol=1e-4, atol=1e-5)
    call.reset()
    np.testing.assert_array_equal(call(sights[0]), alone[0])


@pytest.mark.parametrize("name", SIGHTS)
def test_a_step_keeps_the_axis_of_a_batch_of_one(name):
    policy = make_with_images(SIGHTS[name], 2)
    sights = draw_sight(SIGHTS[name], 2)
    first = take(sights, slice(0, 1))
    action, after = policy.step(first, policy.initial_state(1))
    alone, held = policy.step(take(sights, 0), policy.initial_state())
    both, _ = policy.step(sights, policy.initial_state(2))
    assert action.shape == (1, 2)
    np.testing.assert_array_equal(action[0], alone)
    np.testing.assert_allclose(action[0], both[0], rtol=1e-5, atol=1e-6)
    for one, other in zip(after, held, strict=True):
        np.testing.assert_array_equal(one, other)


@pytest.mark.extra
@pytest.mark.parametrize("kind", ["float32", "int64"])
@pytest.mark.parametrize("frames", [1, 2])
def test_tensors_of_images_are_of_bytes(tmp_path, frames, kind):
    torch = pytest.importorskip("torch")
    call = loaded(tmp_path, make_with_images(SIGHTS["colours"], frames), ".pt")
    given = torch.tensor(draw_sight(SIGHTS["colours"])).to(getattr(torch, kind))
    with pytest.raises(ValueError, match=rf"a tensor of torch.{kind}; it has to be of torch.uint8"):
        call.step(given, call.initial_state())


@pytest.mark.extra
def test_a_tensors_state_may_be_of_arrays_and_an_arrays_of_tensors(tmp_path):
    torch = pytest.importorskip("torch")
    parts = SIGHTS["channels first"]
    call = loaded(tmp_path, make_with_images(parts, 2), ".pt")
    sights = [draw_sight(parts, 2, seed=seed) for seed in (0, 1)]
    action, state = call.step(torch.tensor(sights[0]), call.initial_state(2))
    assert isinstance(action, torch.Tensor)
    later, _ = call.step(sights[1], state)
    _, held = call.step(sights[0], call.initial_state(2))
    np.testing.assert_allclose(later, call.step(sights[1], held)[0], rtol=1e-5, atol=1e-6)
    with pytest.raises(ValueError, match="a state of NoneType"):
        call.step(torch.tensor(sights[0]), None)
    with pytest.raises(ValueError, match=r"a tensor, to which this policy needs to know"):
        call(torch.tensor(sights[0][0]))


@pytest.mark.extra
def test_tensors_of_images_have_gradients(tmp_path):
    torch = pytest.importorskip("torch")
    policy = make_with_images(SIGHTS["channels first"], 2)
    call = loaded(tmp_path, policy, ".pt")
    sight = draw_sight(SIGHTS["channels first"])
    state = tuple(map(torch.tensor, call.initial_state()))
    action, state = call.step(torch.tensor(sight), state)
    expected = policy.step(sight, policy.initial_state())[0]
    np.testing.assert_allclose(action.detach(), expected, rtol=1e-4, atol=1e-5)
    action.sum().backward()
    assert all(weight.grad is not None for weight in call.encoders.parameters())


@pytest.mark.extra
def test_another_program_gives_a_graph_its_images(tmp_path):
    pytest.importorskip("onnx")
    onnxruntime = pytest.importorskip("onnxruntime")
    parts = SIGHTS["beside numbers"]
    policy = make_with_images(parts, 3)
    (tmp_path / "p.onnx").write_bytes(files.packed(".onnx", policy))
    session = onnxruntime.InferenceSession(tmp_path / "p.onnx", providers=["CPUExecutionProvider"])
    given = {end.name: (end.type, end.shape[1:]) for end in session.get_inputs()}
    assert given == {
        "observation": ("tensor(float)", [5]),
        "observation.eye": ("tensor(uint8)", [36, 40, 1]),
        "observation.hand": ("tensor(uint8)", [4, 33, 34]),
        "frames.numbers": ("tensor(float)", [2, 5]),
        "frames.observation.eye": ("tensor(uint8)", [2, 36, 40, 1]),
        "frames.observation.hand": ("tensor(uint8)", [2, 33, 34, 4]),
        "begun": ("tensor(bool)", []),
    }
    sight = draw_sight(parts)
    numbers = np.float32([*sight["arm"]["angles"], *(sight["gear"] == [1, 2, 3])])
    held = {"observation": numbers, "observation.eye": sight["eye"]}
    held |= {"observation.hand": sight["hand"], "begun": np.bool_(False)}
    for name in list(given)[3:6]:
        kind = np.float32 if "numbers" in name else np.uint8
        held[name] = np.zeros(given[name][1], kind)
    held = {name: np.asarray(value)[None] for name, value in held.items()}
    (action,) = session.run(["action"], held)
    np.testing.assert_allclose(action[0], policy.step(sight, policy.initial_state())[0], rtol=1e-4)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda sight: sight.astype(np.float32) / 255, "dtype float32; it has to be of uint8"),
        (lambda sight: sight.astype(np.int64), "dtype int64; it has to be of uint8"),
        (lambda sight: sight[:30], r"shape \(30, 40, 3\); it has to be \(36, 40, 3\)"),
        (lambda sight: np.concatenate([sight] * 3, axis=-1), r"shape \(36, 40, 9\)"),
    ],
    ids=["between 0 and 1", "whole numbers", "of another size", "a stack"],
)
def test_what_is_no_such_image_is_refused(change, said):
    policy = make_with_images(SIGHTS["colours"], 3)
    with pytest.raises(ValueError, match=said):
        policy(change(draw_sight(SIGHTS["colours"])))


@pytest.mark.parametrize("name", SIGHTS)
def test_a_folder_holds_the_encoder(tmp_path, name):
    policy = make_with_images(SIGHTS[name], 2)
    policy.save(tmp_path)
    again = qmu.load_policy(tmp_path)
    assert again.parts == policy.parts
    assert again.layout == policy.layout
    sight = draw_sight(SIGHTS[name])
    state = policy.initial_state()
    np.testing.assert_array_equal(again.step(sight, state)[0], policy.step(sight, state)[0])


def test_an_encoder_that_does_not_fit_its_images_is_refused(tmp_path):
    policy = make_with_images(SIGHTS["colours"])
    parts = (policy.parts[0]._replace(shape=(36, 48, 3)),)
    network = dataclasses.replace(
        policy.network, layout=policy.layout._replace(images=((36, 48, 3),))
    )
    dataclasses.replace(policy, parts=parts, obs_shape=(36, 48, 3), network=network).save(tmp_path)
    with pytest.raises(qmu.ConfigError, match="layers that do not fit together"):
        qmu.load_policy(tmp_path)
