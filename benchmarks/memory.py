"""Peak memory of a training run with 4,096 markets side by side.

    python benchmarks/memory.py

Each measurement is a process of its own that trains for a few rollouts and reports its largest resident set; a process
that only imports and compiles on 8 markets stands beside it.
"""

import resource
import statistics
import subprocess
import sys

from measure import Row, aim, arguments, report

LIMIT = 2.0
"""GiB."""


def main() -> None:
    parser = arguments(__doc__.splitlines()[0], repeats=3)
    parser.add_argument("--markets", type=int, default=4096, help="markets side by side (%(default)s)")
    parser.add_argument("--rollouts", type=int, default=4, help="rollouts and updates of a run (%(default)s)")
    parser.add_argument("--train", type=int, metavar="MARKETS", help="train on as many here, print the peak")
    options = parser.parse_args()
    if options.train:
        _train(options.train, options.rollouts, options.seed)
        print(_peak())
        return

    rows: list[Row] = []
    for markets in (8, options.markets):
        # This process stays small: a child's peak starts from its parent's.
        words = [sys.executable, __file__, *sys.argv[1:], "--train", str(markets)]
        runs = [
            subprocess.run(words, capture_output=True, text=True, check=True) for _ in range(options.repeats)
        ]
        peaks = [float(run.stdout) for run in runs]
        rows.append({"markets": str(markets), "peak, GiB": statistics.median(peaks), "largest": max(peaks)})
    largest = max(peaks)
    aims = [aim(f"peak with {options.markets} markets, GiB", largest, f"below {LIMIT:g}", largest < LIMIT)]
    report("Peak memory of training by PPO on the dealer market", rows, aims, options, "jax", "jaxlib")


def _train(markets: int, rollouts: int, seed: int) -> None:
    from twosided import PPO, DealerMarket, PersistentQuoter, Scenario, train

    learner = PPO(total_timesteps=rollouts * markets * PPO().num_steps, num_envs=markets)
    train(Scenario(DealerMarket(), (PersistentQuoter(),)), learner, seed=seed, chunks=2)


def _peak() -> float:
    """The largest resident set of this process so far, in GiB."""
    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit / 2**30


if __name__ == "__main__":
    main()
