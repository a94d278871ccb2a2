"""Kept policies: the agent's own actions again, from every algorithm; runs, films and exports."""

import io
import shutil
import warnings
from pathlib import Path

import numpy as np
import pytest
import torch

from metagenrl.base.checks import UsageError
from metagenrl.base.files.errors import CorruptFile, FutureFormat
from metagenrl.baselines.registry import KeepsPolicy, make_agent
from metagenrl.commands.main import main
from metagenrl.learner.hyperparams import AgentConfig
from metagenrl.policies import kept
from metagenrl.policies.export import export, format_of
from metagenrl.policies.film import strip
from metagenrl.policies.find import kept_policy
from metagenrl.policies.kept import KeptPolicy, facts_of, policy_path
from metagenrl.policies.network import PolicyNetwork, acting
from metagenrl.policies.play import CannotDraw, drawn, prepare_drawing
from metagenrl.runs.agent_job import ObjectiveChoice, Rule, TraineeJob
from metagenrl.runs.config.baselines import OnPolicyConfig

GOLDEN = Path(__file__).parents[1] / "golden/v0.1"
ENV = "Pendulum-v1"
AGENT = AgentConfig(hidden_units=8, batch_size=4, random_steps=20, learning_starts=20)


def trained(rule: Rule, folder: Path, steps: int = 48) -> KeepsPolicy:
    """An agent of an algorithm after some steps."""
    snapshot = str(GOLDEN / "epg/objectives/objective-00000002.safetensors")
    choice = ObjectiveChoice(rule, snapshot if rule == "epg" else "")
    job = TraineeJob(
        env=ENV, seed=1, label=rule, steps=steps, eval_every=steps, eval_episodes=1,
        folder=str(folder), agent=AGENT, objective=choice,
        on_policy=OnPolicyConfig(rollout_steps=24),
    )  # fmt: skip
    agent = make_agent(job)
    for _ in range(steps):
        agent.step()
    assert isinstance(agent, KeepsPolicy)
    return agent


@pytest.mark.parametrize("rule", ["random", "td3", "sac", "reinforce", "ppo", "epg"])
def test_a_kept_policy_acts_as_its_agent(rule: Rule, tmp_path: Path) -> None:
    agent = trained(rule, tmp_path)
    path = policy_path(tmp_path, 1)
    KeptPolicy(facts_of(rule, ENV, 1, 48), agent.policy_arrays()).save(path)
    policy = KeptPolicy.load(path)
    assert policy.facts.action_low == (-2.0,)
    assert policy.facts.max_episode_steps == 200
    own = agent.policy().act if rule == "ppo" else agent.act  # type: ignore[attr-defined]
    act = acting(policy)
    for s in np.random.default_rng(0).normal(size=(20, 3)).astype(np.float32):
        np.testing.assert_allclose(act(s), np.clip(own(s), -1, 1), rtol=1e-4, atol=1e-5)
        np.testing.assert_array_equal(act(s.astype(np.float64)), act(s))  # as MuJoCo has them


def test_an_agent_of_a_population_is_found_in_its_checkpoint() -> None:
    policy = kept_policy(GOLDEN / "cohort", 3)
    assert (policy.facts.label, policy.facts.seed, policy.facts.steps) == ("population", 3, 200)
    assert -1 <= acting(policy)(np.zeros(policy.facts.observation_size, np.float32))[0] <= 1
    with pytest.raises(UsageError, match="seed: got 9, allowed: 0, 1, 2, 3"):
        kept_policy(GOLDEN / "cohort", 9)
    with pytest.raises(UsageError, match="no policy in it"):
        kept_policy(GOLDEN / "rl2")


def test_damaged_and_later_files_are_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    policy, path = kept_policy(GOLDEN / "cohort"), tmp_path / "p.actor.safetensors"
    policy.save(path)
    path.write_bytes(path.read_bytes()[:-9])
    with pytest.raises(CorruptFile):
        KeptPolicy.load(path)
    monkeypatch.setattr(kept, "FORMAT", 2)
    policy.save(path)
    monkeypatch.undo()
    with pytest.raises(FutureFormat):
        KeptPolicy.load(path)


def test_a_test_keeps_its_policy_and_enjoy_repeats_its_return(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["--objective", "random", "--env", ENV, "--seeds", "1", "--steps", "60"]
    sizes = ["--eval-every", "60", "--eval-episodes", "1", "--hidden-units", "8"]
    main(["test", *words, *sizes, "--run-dir", str(tmp_path / "run")])
    main(["enjoy", str(tmp_path / "run"), "--episodes", "2", "--no-window"])
    assert "episode 1: return -" in capsys.readouterr().out
    out = tmp_path / "policy.pt"
    main(["export", str(tmp_path / "run"), "--out", str(out)])
    assert out.is_file()


def test_the_format_is_the_one_that_the_file_is_called() -> None:
    found = [format_of(Path(name), "auto") for name in ("a.PT", "a.pth", "a.onnx")]
    assert found == ["torchscript", "torchscript", "onnx"]
    assert format_of(Path("a"), "onnx") == "onnx"


@pytest.mark.parametrize("form", ["torchscript", "onnx"])
def test_an_exported_policy_computes_the_same(form: str, tmp_path: Path) -> None:
    policy, out = kept_policy(GOLDEN / "cohort"), tmp_path / "policy"
    export(policy, form, out)  # type: ignore[arg-type]
    s = torch.randn(5, policy.facts.observation_size)
    s[0] *= 1e25  # whose squares float32 does not hold
    expected = PolicyNetwork(policy)(s)
    assert expected.isfinite().all()
    if form == "torchscript":
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            found = torch.jit.load(io.BytesIO(out.read_bytes()))(s)
    else:
        from onnx.reference import ReferenceEvaluator

        found = torch.from_numpy(
            ReferenceEvaluator(str(out)).run(None, {"observation": s.numpy()})[0]
        )
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-5)


def test_a_film_and_a_strip(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    prepare_drawing()
    out = tmp_path / "film.gif"
    main(["record", str(GOLDEN / "cohort"), "--out", str(out), "--max-steps", "5"])
    assert out.read_bytes()[:3] == b"GIF"
    assert "5 steps" in capsys.readouterr().out
    picture = strip(kept_policy(GOLDEN / "cohort"), 0, 3, 2, height=60)
    assert picture.shape == (60, 180, 3)
    assert picture.std() > 0
    assert list(tmp_path.iterdir()) == [out]


@pytest.mark.parametrize("room", [0, 20 << 10])
def test_a_full_disk_leaves_no_part_of_a_film(
    room: int, small_disk: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    """The encoder is a process of its own, whose exit code nobody tells."""
    filler = small_disk / "filler"
    filler.write_bytes(bytes(shutil.disk_usage(small_disk).free - room))
    with pytest.raises(SystemExit) as caught:
        main(["record", str(GOLDEN / "cohort"), "--out", str(small_disk / "film.mp4")])
    assert caught.value.code == 1
    (line,) = capfd.readouterr().err.splitlines()
    assert line.startswith(f"error: out: got '{small_disk}/film.mp4' (the encoder could not finish")
    assert list(small_disk.iterdir()) == [filler]


@pytest.mark.parametrize(
    ("words", "line"),
    [
        (["record", "--out", "film.avi"], "out: got 'film.avi', allowed: a file that ends in .mp4"),
        (["record", "--out", "no/such/film.gif"], "allowed: a file in a folder that exists"),
        (["export", "--out", "no/such/policy"], "allowed: a file in a folder that exists"),
        (
            ["export", "--out", "a.npz"],
            "got 'a.npz', allowed: a file that ends in .onnx, .pt, .pth",
        ),
        (
            ["export", "--out", "a.onnx", "--format", "torchscript"],
            "out: got 'a.onnx' (format: torchscript), allowed: a file that ends in .pt, .pth",
        ),
        (["enjoy", "--episodes", "0"], "episodes: got 0, allowed"),
        (["enjoy", "--seed", "7"], "seed: got 7, allowed: 0, 1, 2, 3"),
    ],
)
def test_mistakes(words: list[str], line: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as error:
        main([words[0], str(GOLDEN / "cohort"), *words[1:]])
    assert error.value.code == 2
    assert line in capsys.readouterr().err


def test_what_cannot_be_drawn_says_what_to_install() -> None:
    class Blind:
        def render(self) -> None:
            raise ImportError("no libEGL")

    with pytest.raises(CannotDraw, match=r"no libEGL.*libegl1.*pygame") as error:
        drawn(Blind(), ENV)
    assert "\n" not in str(error.value)


def test_an_environment_without_pictures_is_told_from_a_missing_library() -> None:
    class Plain:
        def render(self) -> None:
            raise NotImplementedError

    with pytest.raises(CannotDraw, match=r"one that takes `render_mode` and has a `render`"):
        drawn(Plain(), ENV)
