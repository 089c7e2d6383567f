"""What stands beside our numbers for Bakshaev (2020).

The paper shows dashboards and prints no numbers of them. "Theirs" are the outcomes of the paper's own code, run for
this project: PnL of a path of 512 steps in currency and its deviation from path to path, the Sharpe ratio of a step in
percent, and the mean size of the position in units.
"""

UNHEDGED = {"pnl": 3447.0, "pnl_deviation": 4652.0, "sharpe": 5.4}
DUMMY = {"pnl": 1828.0, "pnl_deviation": 344.0, "sharpe": 23.5, "position": 16.0}
"""Hedges the whole position that it sees, at most 32 units a step."""
HALF = {"pnl": 2198.0, "pnl_deviation": 375.0, "sharpe": 25.7}
"""Hedges half of it."""
PAPERS_SAC = {"pnl": 2079.0, "sharpe": 17.7, "position": 25.5}
"""The paper's network and settings."""
PAPERS_SECONDS = 1034.0
"""That it took them to get there."""
UNIT = "Currency a step."
"""Of rewards and PnL, where nothing else is said."""
