"""Saved makers: loaded makers act as the saved policies on any form of observation, and damage is detected."""

import json
import random

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from safetensors import safe_open
from support.toys import Move, Toy

from twosided.core.errors import Refusal
from twosided.core.evaluation import evaluate
from twosided.core.policy import Policy
from twosided.core.scenario import Scenario
from twosided.dealer.adaptive import AdaptiveQuoter
from twosided.dealer.market import DealerMarket
from twosided.dealer.quoters import PersistentQuoter, RandomQuoter
from twosided.electronic.market import ElectronicMarket
from twosided.electronic.policies import ThresholdPolicy
from twosided.hedging.hedgers import FractionalHedger
from twosided.hedging.market import HedgingMarket
from twosided.learn.ppo import PPO
from twosided.learn.sac import SAC
from twosided.learn.temporal_difference import SARSA
from twosided.limit_orders.exact import limit_order_optimum
from twosided.limit_orders.market import LimitOrderMarket
from twosided.runs.makers import MakerError, load, save

DEALER = Scenario(DealerMarket(), (PersistentQuoter(),))
ELECTRONIC = Scenario(ElectronicMarket(), (), horizon=10)
HEDGING = Scenario(HedgingMarket(), (), horizon=20)
LIMIT_ORDERS = Scenario(LimitOrderMarket(session=5), (), horizon=5)


def untrained(scenario, learner):
    return learner.policy(scenario, learner.init(scenario, jax.random.key(1)))


MAKERS = {
    "rule": lambda: (DEALER, PersistentQuoter(epsilon_buy=-0.25)),
    "ppo": lambda: (DEALER, untrained(DEALER, PPO())),
    "sac": lambda: (HEDGING, untrained(HEDGING, SAC())),
    "table": lambda: (ELECTRONIC, untrained(ELECTRONIC, SARSA())),
    "quote table": lambda: (LIMIT_ORDERS, limit_order_optimum(LIMIT_ORDERS).policy),
    "hedger": lambda: (HEDGING, FractionalHedger(fraction=0.5)),
    "adaptive": lambda: (DEALER, AdaptiveQuoter()),
}


def observations(scenario, count=6):
    """Return a batch of random observations of one maker."""
    shock = jax.vmap(scenario.market.reset)(scenario.market.shocks(jax.random.key(5), (count,)))[1]
    one = jax.tree.map(lambda leaf: leaf[:, 0], shock)
    return jax.tree.map(
        lambda leaf: leaf + jnp.linspace(0.0, 1.0, count).reshape(-1, *[1] * (leaf.ndim - 1)), one
    )


def fields(observation):
    return {name: np.asarray(value) for name, value in vars(observation).items() if value is not None}


@pytest.fixture(scope="module", params=MAKERS)
def saved(request, tmp_path_factory):
    scenario, policy = MAKERS[request.param]()
    path = tmp_path_factory.mktemp("makers") / "maker.safetensors"
    save(policy, path, scenario)
    return scenario, policy, path


def test_loaded_maker_acts_as_the_saved_policy(saved):
    scenario, policy, path = saved
    seen = observations(scenario)
    maker = load(path)
    found = maker.act(fields(seen))
    for i in range(6):
        one = jax.tree.map(lambda leaf, i=i: leaf[i], seen)
        shock = jax.tree.map(
            lambda leaf, i=i: leaf[i], policy.shocks(jax.random.fold_in(jax.random.key(0), 0), (6,))
        )
        expected, _ = policy.act(shock, policy.init(), one)
        for a, b in zip(jax.tree.leaves(found), jax.tree.leaves(expected), strict=True):
            np.testing.assert_allclose(a[i], b, rtol=2e-5, atol=2e-6)


def test_loaded_leaves_and_structure_are_bit_identical(saved):
    scenario, policy, path = saved
    maker = load(path)
    assert jax.tree.structure(maker.policy) == jax.tree.structure(policy)
    for a, b in zip(jax.tree.leaves(maker.policy), jax.tree.leaves(policy), strict=True):
        assert np.shape(a) == np.shape(b)
        np.testing.assert_array_equal(a, np.asarray(b, np.asarray(a).dtype))
    assert jax.tree.structure(maker.scenario) == jax.tree.structure(scenario)
    assert maker.versions["twosided"]


def test_forms_of_observations_give_the_same_actions(saved):
    scenario, _, path = saved
    seen = observations(scenario)
    named, flat = load(path), load(path)
    table = np.concatenate([value.reshape(6, -1) for value in fields(seen).values()], axis=1)
    as_named, as_flat, as_object = named.act(fields(seen)), flat.act(table), load(path).act(seen)
    one = load(path).act({name: value[0] for name, value in fields(seen).items()})
    for a, b, c, d in zip(*map(jax.tree.leaves, (as_named, as_flat, as_object, one)), strict=True):
        np.testing.assert_array_equal(a, b)
        np.testing.assert_array_equal(a, c)
        assert d.shape == a.shape[1:]


def test_loaded_policy_has_the_same_evaluation(tmp_path):
    policy = untrained(DEALER, PPO())
    save(policy, tmp_path / "maker", DEALER)
    maker = load(tmp_path / "maker")
    ours, theirs = (evaluate(DEALER, {"maker": p}, steps=2000) for p in (policy, maker.policy))
    assert ours == theirs


def test_policy_state_is_kept_between_calls_until_reset(tmp_path):
    policy = AdaptiveQuoter()
    save(policy, tmp_path / "maker", DEALER)
    maker, seen = load(tmp_path / "maker"), observations(DEALER, 1)
    one = {name: value[0] for name, value in fields(seen).items()}
    actions = [maker.act(one) for _ in range(3)]
    state, expected = policy.init(), None
    for _ in range(3):
        expected, state = policy.act(None, state, jax.tree.map(lambda leaf: leaf[0], seen))
    assert actions[2].epsilon_buy == pytest.approx(float(expected.epsilon_buy), abs=1e-6)
    with pytest.raises(MakerError, match="must keep the batch of None"):
        maker.act(fields(seen))
    maker.reset()
    assert maker.act(one).epsilon_buy == actions[0].epsilon_buy


def test_draws_of_random_policies_are_reproducible_from_the_seed(tmp_path):
    save(RandomQuoter(), tmp_path / "maker", DEALER)
    one = {name: value[0] for name, value in fields(observations(DEALER, 1)).items()}
    draws = [
        [float(maker.act(one).epsilon_buy) for _ in range(2)]
        for maker in (load(tmp_path / "maker", seed=3),) * 1
    ]
    again = load(tmp_path / "maker", seed=3)
    assert draws[0] == [float(again.act(one).epsilon_buy) for _ in range(2)]
    assert draws[0][0] != draws[0][1]
    assert float(load(tmp_path / "maker", seed=4).act(one).epsilon_buy) != draws[0][0]


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        (lambda o: o | {"inventroy": 1.0}, "the observation has no field inventroy; did you mean inventory?"),
        (
            lambda o: {k: v for k, v in o.items() if k != "mid"},
            "the observation lacks mid; it takes bought, sold,",
        ),
        (lambda o: o | {"mid": "dear"}, "mid must be numbers, but got 'dear'"),
        (lambda o: o | {"mid": np.nan}, "mid must be finite, but got nan"),
        (
            lambda o: o | {"volumes": [1.0]},
            r"volumes must have the shape \(10,\), or one more axis, but got \(1,\)",
        ),
        (lambda o: o | {"mid": [1.0, 2.0]}, "all fields must have the same batch"),
        (lambda o: np.zeros(3), r"observation must have the shape \(17,\) or \(batch, 17\), but got \(3,\)"),
    ],
)
def test_invalid_observations_raise_a_one_line_error(tmp_path_factory, unchecked_types, change, sentence):
    path = tmp_path_factory.mktemp("makers") / "maker"
    save(PersistentQuoter(), path, DEALER)
    one = {name: value[0] for name, value in fields(observations(DEALER, 1)).items()}
    with pytest.raises(MakerError, match=sentence):
        load(path).act(change(one))


def test_flipped_bits_are_detected(tmp_path):
    path = tmp_path / "maker"
    save(ThresholdPolicy(2), path, ELECTRONIC)
    content, found = path.read_bytes(), load(path)
    rng = random.Random(0)
    for bit in rng.sample(range(8 * len(content)), 300):
        damaged = bytearray(content)
        damaged[bit // 8] ^= 1 << bit % 8
        path.write_bytes(bytes(damaged))
        try:
            read = load(path)
        except Refusal:
            continue
        # Only white space that pads the header has no meaning.
        assert eqx.tree_equal(read.policy, found.policy) and eqx.tree_equal(read.scenario, found.scenario)
    for size in (0, 4, len(content) - 1):
        path.write_bytes(content[:size])
        with pytest.raises(MakerError):
            load(path)


class Constant(Policy):
    """Plays a constant; a user's class."""

    x: float = 2.0

    def shocks(self, key, shape):
        return None

    def init(self):
        return None

    def act(self, shock, state, observation):
        return Move(jnp.asarray(self.x)), state


def test_classes_of_other_packages_must_be_passed_to_load(tmp_path):
    scenario = Scenario(Toy(), ())
    save(Constant(3.0), tmp_path / "maker", scenario)
    with pytest.raises(MakerError, match=r"it needs the class .*Constant; hand it to load\(path, classes"):
        load(tmp_path / "maker")
    classes = [Constant, Toy, type(scenario.market.reset(jnp.asarray(True))[1])]
    maker = load(tmp_path / "maker", classes)
    assert maker.act({"age": 0.0, "coin": 1.0, "last": 0.0}).x == 3.0


def test_only_modules_of_trusted_packages_are_instantiated(tmp_path):
    path = tmp_path / "maker"
    save(PersistentQuoter(), path, DEALER)
    for name in (
        "os:system",
        "twosided.runs.makers:load",
        "twosided.core.policy:Nothing",
        "equinox:filter_jit",
    ):
        forge(path, lambda content, name=name: content["policy"].update({"class": name, "fields": {}}))
        with pytest.raises(MakerError):
            load(path)


def test_parameters_are_validated_by_constructors(tmp_path):
    path = tmp_path / "maker"
    save(PersistentQuoter(), path, DEALER)

    def invalidate(content):
        content["policy"]["fields"]["epsilon_buy"] = 7.0

    forge(path, invalidate)
    with pytest.raises(MakerError, match="PersistentQuoter: epsilon_buy must be in"):
        load(path)


def forge(path, change):
    """Change the content of a file, with a checksum that matches."""
    from safetensors.numpy import load_file, save_file

    from twosided.runs.makers import _checksum

    with safe_open(path, "numpy") as file:
        content = json.loads(file.metadata()["twosided"])
    arrays = load_file(path)
    change(content)
    text = json.dumps(content)
    kept = {name: array for name, array in arrays.items() if name != "empty"}
    save_file(arrays, path, {"twosided": text, "sha256": _checksum(text, kept)})


def test_maker_saved_without_its_scenario_raises_on_use(tmp_path):
    save(PersistentQuoter(), tmp_path / "maker")
    with pytest.raises(MakerError, match="save it with its scenario"):
        load(tmp_path / "maker").act({"inventory": 1.0})
