"""What investors' orders are worth to a maker and what they cost it, tier by tier, in closed form.

All that the investors of a tier bring on one side in a step, on average, with ΔP = P_{t+1} - P_t and S = S_ref:

    value     A = P_0 E[v S(v)] (n_u / 2 + n_i P[side])      earned by who wins it all at ε = 0
    toxicity  C = E[v] n_i E[ΔP⁻] where the maker buys,  E[v] n_i E[ΔP⁺] where it sells

n_u uninformed and n_i informed investors (those that come); the informed sell, so the maker buys, when ΔP < 0. A
maker that quotes ε and wins earns A (1 + ε) - C in spread and in the revaluation of that very step. Later steps
add nothing in expectation where the midprice has no drift and the informed know one step alone. Sizes, books and
moves are independent of each other, and E[P_t] = P_0. A is known for each of many books, drawn by quasi-Monte Carlo:
a maker sees the book before it quotes, and C does not depend on it.
"""


class NotExact(ValueError):
    """One sentence on why a scenario has no exact answer here."""
