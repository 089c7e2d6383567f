"""Electronic market in the command line, in a run and its page, and in Gymnasium."""

import json

import gymnasium
import numpy as np
import pytest

import twosided  # noqa: F401  (registers the environments)
from twosided.cli.main import main

pytestmark = pytest.mark.extended

ALONE = ["--market", "electronic-market", "--horizon", "150"]


def call(capsys, *words):
    with pytest.raises(SystemExit) as ended:
        main(words)
    out, err = capsys.readouterr()
    return ended.value.code, out, err


def test_policies_are_evaluated(capsys):
    words = [
        "--policy",
        "threshold-policy:threshold=1",
        "--policy",
        "imbalance-table:changes=-1,0,1",
        "--steps",
        "30000",
        "--json",
    ]
    code, out, _ = call(capsys, "evaluate", *ALONE, *words)
    assert code == 0
    found = {(r["case"], r["metric"]): (r["value"], r["error"]) for r in json.loads(out)}
    value, error = found["threshold policy", "pnl_spread"]
    assert abs(value + 0.43658) < 4 * error
    # This table of three entries is the policy with threshold 1.
    assert found["imbalance table", "pnl_total"] == found["threshold policy", "pnl_total"]


def test_training_run_writes_its_page(capsys, tmp_path):
    folder = tmp_path / "run"
    learner = ["--learner", "sarsa", "--learner.total-timesteps", "30000", "--seeds", "2", "--chunks", "2"]
    words = [*ALONE, "--reward", "spread-pnl", *learner, "--evaluation-steps", "3000", "--out", str(folder)]
    code, out, _ = call(capsys, "train", *words)
    assert code == 0
    assert "mean of seeds" in out
    page = (folder / "report.html").read_text()
    assert "A market maker in the electronic market" in page
    assert "One episode" in page
    assert "Investors" not in page
    assert "ticks per step" in page and "An arrow up raises the quote" in page


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (
            ["--market", "electronic-market", "--policy", "imbalance-table", "--competitor", "random-quoter"],
            "electronic-market takes no competitors",
        ),
        (
            ["--market", "electronic-market:informed=0.5"],
            "2 price_change + 2 uninformed + informed must be 1",
        ),
        (
            [*ALONE, "--policy", "threshold-policy:threshold=0"],
            "threshold must be a whole number of at least 1",
        ),
        ([*ALONE, "--policy", "persistent-quoter"], "PersistentQuoter cannot play in ElectronicMarket"),
        (["--policy", "threshold-policy"], "ThresholdPolicy cannot play in DealerMarket"),
    ],
)
def test_invalid_command_lines_give_a_one_line_error(capsys, words, sentence):
    code, _, err = call(capsys, "evaluate", *words)
    assert code == 2
    assert sentence in err
    assert err.count("\n") == 1


def test_tabular_learner_raises_without_a_finite_action_space(capsys, tmp_path):
    code, _, err = call(capsys, "train", "--learner", "q-learning", "--out", str(tmp_path / "run"))
    assert code == 2
    assert "QLearning cannot learn in DealerMarket" in err


def test_gymnasium_environment_steps():
    env = gymnasium.make("twosided/Electronic-v0", market="electronic-market:full_information=true")
    assert env.action_space.n == 3
    observation, _ = env.reset(seed=0)
    np.testing.assert_array_equal(observation, [0.0, 0.0, 0.0])
    total, ended = 0.0, False
    while not ended:
        # The quote follows the observed mispricing, so informed traders have no profit.
        observation, reward, _, ended, info = env.step(int(np.sign(observation[2])) + 1)
        total += reward
        assert reward == info["pnl_spread"]
    assert total == 0.0
    many = gymnasium.make_vec("twosided/Electronic-v0", num_envs=3)
    assert many.reset(seed=1)[0].shape == (3, 2)
