"""Shared types: PnL, validation, floats as arrays, and finite action spaces."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from twosided.bars.market import BarsMarket
from twosided.core.numeric import as_arrays
from twosided.core.spaces import Discrete
from twosided.core.transition import PnL, Transition
from twosided.core.validation import check, is_at_least, is_positive
from twosided.dealer.market import DealerAction
from twosided.dealer.quoters import PersistentQuoter


def test_total_pnl_is_the_sum_of_its_parts():
    pnl = PnL(
        spread=jnp.array([1.0, 2.0]),
        hedge=jnp.array([-0.5, 0.0]),
        inventory=jnp.array([8.0, -16.0]),
        fees=jnp.array([-0.25, 32.0]),
    )
    np.testing.assert_array_equal(pnl.total, [8.25, 18.0])


@pytest.mark.parametrize(
    ("value", "shown"),
    [
        (-1.5, "-1.5"),
        (np.float32(-0.5), "-0.5"),
        (jnp.array([1.0, -2.0]), "[1.0, -2.0]"),
        ((1, 0), "(1, 0)"),
        ("tanhh", "'tanhh'"),
    ],
)
def test_error_names_field_constraint_and_value(value, shown):
    with pytest.raises(ValueError) as error:
        check("size", value, "positive", False)
    assert str(error.value) == f"size must be positive, but got {shown}"


def test_one_invalid_entry_of_an_array_raises():
    values = np.array([1.0, np.nan, 2.0])
    with pytest.raises(ValueError, match="sizes must be finite"):
        check("sizes", values, "finite", lambda: np.isfinite(values))


@pytest.mark.parametrize("value", [0.0, -1.0, np.nan, np.inf, -np.inf])
def test_is_positive_rejects_zero_negative_and_not_finite(value):
    assert not is_positive(value)


@pytest.mark.parametrize(("value", "holds"), [(2.0, True), (1.0, True), (0.999, False), (np.nan, False)])
def test_is_at_least_compares_with_the_bound(value, holds):
    assert bool(is_at_least(value, 1.0)) is holds


def test_is_at_least_rejects_infinity():
    assert not is_at_least(np.inf, 1.0)


def test_traced_parameters_are_not_checked_but_concrete_ones_are():
    # 7 is out of range, but traced values cannot be checked.
    persistent = jax.vmap(lambda x: PersistentQuoter(epsilon_buy=x, epsilon_sell=0.0))(jnp.array([0.5, 7.0]))
    np.testing.assert_array_equal(persistent.epsilon_buy, [0.5, 7.0])
    with pytest.raises(ValueError, match=r"epsilon_buy must be in \[-1, 1\], but got 7.0"):
        PersistentQuoter(epsilon_buy=7.0, epsilon_sell=0.0)
    # Nor can a number be compared with a traced one.
    max_sizes = jax.vmap(lambda x: BarsMarket(size=1.0, max_size=x).max_size)(jnp.array([0.5, 2.0]))
    np.testing.assert_array_equal(max_sizes, [0.5, 2.0])


def test_as_arrays_converts_floats_only():
    tree = {"float": 0.5, "int": 3, "bool": True, "array": np.arange(2), "none": None}
    out = as_arrays(tree)
    assert isinstance(out["float"], jax.Array) and out["float"] == 0.5
    assert {name: out[name] for name in ("int", "bool", "none")} == {"int": 3, "bool": True, "none": None}
    assert out["array"] is tree["array"]


def test_parameter_values_do_not_trigger_recompilation():
    compiled = 0

    @jax.jit
    def doubled(policy):
        nonlocal compiled
        compiled += 1
        return 2 * policy.hedge

    for hedge in (0.1, 0.2, 0.7):
        assert doubled(as_arrays(PersistentQuoter(hedge=hedge))) == pytest.approx(2 * hedge, rel=1e-6)
    assert compiled == 1


def test_size_of_a_discrete_space_is_the_number_of_actions():
    side = jnp.linspace(-1.0, 1.0, 7)
    assert Discrete(DealerAction(side, side, jnp.zeros(7))).size == 7


def test_transition_of_a_task_without_prices_has_its_number_as_spread_pnl():
    several = Transition.of(None, pnl=jnp.asarray([1.0, -2.0]), terminated=True)
    assert several.pnl.total.tolist() == several.pnl.spread.tolist() == [1.0, -2.0]
    assert several.inventory.tolist() == several.expected_inventory_pnl.tolist() == [0.0, 0.0]
    assert bool(several.terminated) and np.isnan(several.quotes.mid).all()
    single = Transition.of(None, pnl=3)
    assert single.pnl.spread.shape == (1,) and single.pnl.spread.dtype == jnp.float32
    assert not bool(single.terminated)
