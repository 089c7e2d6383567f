"""Reference results for Bakshaev (2020).

The paper shows dashboards without numbers. These are results of the paper's own code, run for this project, in the
metrics of `common.of_paths`: PnL of a path of 512 steps in currency and its standard deviation over
paths, the Sharpe ratio of a step in percent, and the mean size of the position in units.
"""

UNHEDGED = {"path_pnl": 3447.0, "path_pnl_std": 4652.0, "path_sharpe": 5.4}
FULL_HEDGE = {"path_pnl": 1828.0, "path_pnl_std": 344.0, "path_sharpe": 23.5, "path_position": 16.0}
"""Results of hedging the whole observed position, at most 32 units per step."""
HALF_HEDGE = {"path_pnl": 2198.0, "path_pnl_std": 375.0, "path_sharpe": 25.7}
"""Results of hedging half of the observed position, at most 32 units per step."""
PAPER_SAC = {"path_pnl": 2079.0, "path_sharpe": 17.7, "path_position": 25.5}
"""Results of SAC with the paper's network and settings."""
PAPER_SECONDS = 1034.0
"""Training time of SAC with the paper's settings, in seconds."""
UNIT = "Currency per step."
"""Unit of rewards and PnL, unless stated otherwise."""
