"""Numbers printed in the slides of Phelps (2022), and their settings."""

HORIZON = 150
"""T, the number of events in a day."""
LIMIT = 2
"""The learner's imbalance is clipped to ± this."""
UNIT = "Ticks per step."
"""Unit of all rewards and values."""
EXPLORATION = 0.025
"""ε of the exploring policy of slide 1.5.9."""

ONE_DAY = {"1": -0.36, "2": -0.54}
"""Mean reward of a single day, by threshold."""
VALUES = {1: -0.4362533333333333, 2: -0.5420799999999999, 3: -0.6780799999999999}
"""v(π_h) per step, from 1,000 days each."""
STATE_VALUES = {
    1: {-1: -0.4366842105263162, 0: -0.4183260869565217, 1: -0.4551463414634147},
    2: {
        -2: -0.5339999999999999,
        -1: -0.5252894736842114,
        0: -0.5089347826086954,
        1: -0.5504634146341455,
        2: -0.5315384615384616,
    },
}
"""v(s) of each threshold, from 1,000 days each."""
PAIR_VALUES = {
    (-2, -1): -0.38593,
    (-1, 0): -0.567512,
    (0, 0): -0.564312,
    (1, 0): -0.567192,
    (2, 1): -0.386951,
}
"""Q(s, a) of π_2, the mean of 10,000 days' means."""
EXPLORED = (
    (-5.393120, -6.398448, -5.971927),
    (-5.820319, -6.092052, -6.168338),
    (-5.823990, -5.799513, -5.802399),
    (-6.240433, -6.094727, -5.838191),
    (-5.945665, -5.921463, -5.777265),
)
"""Q(s, a) of the exploring policy, the mean of 50,000 days' means; imbalances -2 to 2, changes -1, 0, 1."""
LEARNED_DAY = (
    (0.0, 0.0, 0.0),
    (-0.401995, -0.266438, -0.260303),
    (-0.629396, -0.570168, -0.329424),
    (-0.764471, -0.882239, -0.889121),
    (-0.377703, -0.503057, -0.215830),
)
"""Q of SARSA after one day."""
LEARNED = (
    (-0.908272, -1.945495, -1.884303),
    (-0.404848, -0.941013, -1.036575),
    (-0.945292, -0.496658, -0.874284),
    (-1.331283, -1.248187, -0.343388),
    (-2.161748, -2.306827, -1.399997),
)
"""Q of SARSA after 5,000 days."""
GREEDY = (-1, -1, 0, 1, 1)
"""Change of quote at imbalances -2 to 2 under both greedy policies of the slides."""
