"""Presets: valid settings, and the scenarios, networks and training of the papers."""

import dataclasses

import equinox as eqx
import pytest

from twosided.core.numeric import as_arrays
from twosided.learn.sac import SAC
from twosided.papers.bakshaev2020.scenarios import portfolio, price_of_risk, single_asset
from twosided.runs.settings import check_fit, named
from twosided.settings import SettingsError, build, describe_preset, load, parse, preset_files

TRAIN = "twosided.runs.settings:TrainSettings"
FILES = preset_files()
PAPERS = {
    # Scenario, hidden sizes, learning rate (one for all three), steps of the paper, and steps before learning starts.
    "single-asset": (single_asset(), (1024, 1024), 7e-6, 6000, 20),
    "skew": (single_asset(skew=True), (2048, 2048), 5e-6, 7000, 20),
    "price-of-risk": (price_of_risk(), (2048, 2048), 1e-5, 15000, 20),
    "portfolio": (portfolio(), (8000, 8000), 5e-6, 20000, 1),
    "portfolio-slow": (portfolio(), (8000, 8000), 2e-6, 20000, 5000),
}


def preset(name, *words):
    return build(parse(TRAIN, ["--preset", name, *words], prog="train", presets=FILES))


@pytest.mark.parametrize("name", PAPERS)
def test_presets_of_papers_match_the_papers(name):
    scenario, hidden, rate, steps, warmup = PAPERS[name]
    train = preset(f"bakshaev2020-{name}")
    assert eqx.tree_equal(as_arrays(train.scenario), as_arrays(scenario))
    found: SAC = train.learner
    assert found.hidden_sizes == hidden
    assert (found.actor_lr, found.critic_lr, found.ent_coef_lr) == (rate, rate, rate)
    assert (found.total_timesteps + found.learning_starts, found.learning_starts) == (steps, warmup)
    assert found.lr_end == 1.0
    # One market and one gradient step per market step, on batches of 256, without normalisation.
    assert (found.num_envs, found.num_steps, found.gradient_steps, found.batch_size) == (1, 1, 1, 256)
    assert (found.gamma, found.tau) == (0.99, 0.005)
    assert (found.initial_ent_coef, found.ent_coef) == (1.0, "auto")
    assert not (found.normalize_observations or found.normalize_rewards)
    assert found.layer_norm == name.startswith("portfolio")


@pytest.mark.parametrize("name", FILES)
def test_presets_have_a_description_and_parts_that_fit(name):
    is_sac = load(FILES[name]).get("learner", {}).get("kind") == "sac"
    train = preset(name, "--learner.hidden-sizes", "4", *["--learner.buffer-size", "100000"] * is_sac)
    check_fit(train.scenario, named(train.references).values(), train.learner)
    if "discount" in {field.name for field in dataclasses.fields(train.reward)}:
        assert train.reward.discount == train.learner.gamma, "the charge at a breach goes with it"
    assert describe_preset(FILES[name]).endswith(".") and len(describe_preset(FILES[name])) > 20


def test_options_override_a_preset_and_later_presets_earlier_ones():
    ours = preset("skew", "--market.elasticity", "60", "--seeds", "5")
    assert (ours.market.elasticity, ours.market.allow_skew, ours.seeds) == (60.0, True, 5)
    both = preset("single-asset", "--preset", "portfolio")
    assert type(both.market).__name__ == "PortfolioMarket"
    assert both.learner == preset("portfolio").learner


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (["--preset", "portfolo"], "--preset takes one of .* but got 'portfolo'; did you mean portfolio?"),
        (["--preset"], "--preset takes a name, but nothing follows it"),
        (["--preset=skew", "--market.allow-skew=7"], "--market.allow-skew takes true or false, but got '7'"),
    ],
)
def test_invalid_presets_and_options_raise(words, sentence):
    with pytest.raises(SettingsError, match=sentence):
        parse(TRAIN, words, prog="train", presets=FILES)


def test_preset_option_raises_in_commands_without_presets():
    with pytest.raises(SettingsError, match="unknown option --preset"):
        parse("twosided.cli.commands.evaluate:Evaluate", ["--preset", "skew"], prog="evaluate")
