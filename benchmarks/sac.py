"""Training steps a second of our SAC and of stable-baselines3's on the same market, one thread each.

    python benchmarks/sac.py        (needs the extra `sb3`: stable-baselines3, torch and gymnasium)
    python benchmarks/sac.py --market hedging

Both train on the same scenario with the same algorithm and sizes: networks of two ReLU layers for the policy and for
each of two values, batches of 256 from the replay, a temperature that is found, running scales of observations and
rewards (`VecNormalize` there). Three cases: one market and a gradient step after each of its steps, networks of 64 x 64
and of 256 x 256; and 64 markets that step at once (there in one compiled call of `ScenarioVectorEnv`) with 16 gradient
steps after each of their steps.

Each measurement is a process of its own on one and the same core, taken in turn; its seconds are the processor's, so
that other work on the machine counts for nobody. What comes before training runs at its speed (imports, compiling,
1,000 steps with random actions) is left out.
"""

import json
import os
import statistics
import time
from argparse import Namespace

from contest import MARKETS, contest, one_call, scenario
from measure import Row, aim, arguments, median_ratio, report

CONTESTANTS = ("twosided", "SB3")
WARMUP = 1024

# Markets, gradient steps after a step of them all, width; steps of them all that are timed, ours and theirs.
CASES = {
    "1 market, 1 update, 64 x 64": (1, 1, 64, 4000, 400),
    "1 market, 1 update, 256 x 256": (1, 1, 256, 600, 200),
    "64 markets, 16 updates, 64 x 64": (64, 16, 64, 250, 25),
}


def main() -> None:
    parser = arguments(__doc__.splitlines()[0], repeats=3)
    parser.add_argument("--case", choices=CASES, help="this case alone")
    parser.add_argument("--market", choices=MARKETS, default="dealer", help="the market that both train on")
    parser.add_argument("--contestant", choices=CONTESTANTS, help="measure this one here and print JSON")
    options = parser.parse_args()
    if options.contestant:
        print(json.dumps(_measure(options)))
        return

    rows: list[Row] = []
    for case in [options.case] if options.case else CASES:
        measured = contest(__file__, CONTESTANTS, options.repeats, "--case", case)
        speeds = {name: [one["steps_per_second"] for one in ones] for name, ones in measured.items()}
        ratio = median_ratio(speeds["twosided"], speeds["SB3"])
        rows.append(
            {"case": case, **{name: statistics.median(of) for name, of in speeds.items()}, "ratio": ratio}
        )
    slowest = min(float(row["ratio"]) for row in rows)
    aims = [aim("twosided / SB3, the least of all cases", slowest, "above 1", slowest > 1)]
    title = f"SAC on the {options.market} market, one core: market steps a second of processor time"
    report(title, rows, aims, options, "jax", "stable-baselines3", "torch", "gymnasium", "numpy")


def _measure(options: Namespace) -> dict[str, float]:
    """One contestant on one case, in this process, on one core."""
    os.sched_setaffinity(0, {max(os.sched_getaffinity(0))})
    markets, updates, width, ours, theirs = CASES[options.case]
    market, seed = options.market, options.seed
    if options.contestant == "twosided":
        return {"steps_per_second": markets * ours / _ours(market, markets, updates, width, ours, seed)}
    return {"steps_per_second": markets * theirs / _sb3(market, markets, updates, width, theirs, seed)}


def _ours(market: str, markets: int, updates: int, width: int, steps: int, seed: int) -> float:
    """Seconds of the second half of a training of twice that many steps."""
    from twosided import SAC, train

    learner = SAC(
        total_timesteps=2 * steps * markets,
        num_envs=markets,
        gradient_steps=updates,
        hidden_sizes=(width, width),
        learning_starts=WARMUP,
    )
    times: list[float] = []
    train(
        scenario(market),
        learner,
        seed=seed,
        chunks=2,
        after_chunk=lambda _: times.append(time.process_time()),
    )
    return times[1] - times[0]


def _sb3(market: str, markets: int, updates: int, width: int, steps: int, seed: int) -> float:
    """The same of stable-baselines3."""
    import torch
    from stable_baselines3 import SAC
    from stable_baselines3.common.vec_env import DummyVecEnv, VecNormalize

    from twosided.adapters.gymnasium import ScenarioEnv

    torch.set_num_threads(1)
    one = markets == 1
    env = DummyVecEnv([lambda: ScenarioEnv(scenario(market))]) if one else one_call(markets, seed, market)
    model = SAC(
        "MlpPolicy",
        VecNormalize(env, gamma=0.99),
        buffer_size=1_000_000,
        learning_starts=WARMUP,
        train_freq=1,
        gradient_steps=updates,
        policy_kwargs={"net_arch": [width, width]},
        device="cpu",
        seed=seed,
    )
    model.learn(WARMUP + 5 * markets)
    begin = time.process_time()
    model.learn(steps * markets, reset_num_timesteps=False)
    return time.process_time() - begin


if __name__ == "__main__":
    main()
