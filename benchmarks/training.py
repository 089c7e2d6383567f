"""Training steps a second of our PPO and of stable-baselines3's on the same dealer market, one thread each.

    python benchmarks/training.py        (needs the extra `sb3`: stable-baselines3, torch and gymnasium)

All train on the same scenario with the same algorithm and sizes: separate networks of 64 x 64 tanh for policy and
value, the same number of markets, steps in a rollout, epochs and minibatches, advantages normalised, running
scales of observations and rewards (`VecNormalize` there). Three contestants:

    twosided             `train`, whole training compiled; its looks at the policy between chunks are counted
    SB3, Dummy           stable-baselines3 on its DummyVecEnv over `ScenarioEnv`s: what its users do first
    SB3, one call        stable-baselines3 on `ScenarioVectorEnv`: all markets step in one compiled call,
                         the stronger opponent

Each measurement is a process of its own on one and the same core, taken in turn. What comes before training
runs at its speed (imports, compiling) is counted apart.
"""

import json
import os
import statistics
import time
from argparse import Namespace

from contest import contest, one_call, scenario
from measure import Row, aim, arguments, median_ratio, report

CONTESTANTS = ("twosided", "SB3, Dummy", "SB3, one call")


def main() -> None:
    parser = arguments(__doc__.splitlines()[0], repeats=3)
    parser.add_argument("--markets", type=int, default=128, help="markets side by side (%(default)s)")
    parser.add_argument(
        "--rollout-steps", type=int, default=32, help="steps of each in a rollout (%(default)s)"
    )
    parser.add_argument("--epochs", type=int, default=4, help="passes over a rollout (%(default)s)")
    parser.add_argument("--minibatches", type=int, default=16, help="gradient steps in a pass (%(default)s)")
    parser.add_argument("--rollouts", type=int, default=8, help="timed rollouts of SB3 (%(default)s)")
    parser.add_argument("--ours", type=int, default=160, help="timed rollouts of twosided (%(default)s)")
    parser.add_argument("--contestant", choices=CONTESTANTS, help="measure this one here and print JSON")
    options = parser.parse_args()
    if options.contestant:
        print(json.dumps(_measure(options)))
        return

    measured = contest(__file__, CONTESTANTS, options.repeats)
    speeds = {name: [one["steps_per_second"] for one in ones] for name, ones in measured.items()}
    rows: list[Row] = [
        {
            "learner": name,
            "steps a second": statistics.median(speeds[name]),
            "before, s": statistics.median(one["before"] for one in measured[name]),
            "twosided over it": median_ratio(speeds["twosided"], speeds[name]),
        }
        for name in CONTESTANTS
    ]
    ratio = median_ratio(speeds["twosided"], speeds["SB3, Dummy"])
    aims = [aim("twosided / SB3, Dummy", ratio, "at least 20", ratio >= 20)]
    title = (
        f"PPO on the dealer market, one core: {options.markets} markets x {options.rollout_steps} steps a rollout, "
        f"{options.epochs} epochs of {options.minibatches} minibatches, networks 64 x 64"
    )
    report(title, rows, aims, options, "jax", "stable-baselines3", "torch", "gymnasium", "numpy")


def _measure(options: Namespace) -> dict[str, float]:
    """One contestant, in this process, on one core."""
    begin = time.perf_counter()
    os.sched_setaffinity(0, {max(os.sched_getaffinity(0))})
    run = _ours if options.contestant == "twosided" else _sb3
    ready, end, warming, rollouts = run(options)
    a_rollout = (end - ready) / rollouts
    steps = options.markets * options.rollout_steps
    return {"before": ready - begin - warming * a_rollout, "steps_per_second": steps / a_rollout}


def _ours(options: Namespace) -> tuple[float, float, int, int]:
    """When it was warm, when it ended, and the rollouts before and between."""
    from twosided import PPO, train

    rollout = options.markets * options.rollout_steps
    learner = PPO(
        total_timesteps=2 * options.ours * rollout,
        num_envs=options.markets,
        num_steps=options.rollout_steps,
        num_epochs=options.epochs,
        num_minibatches=options.minibatches,
    )
    times: list[float] = []
    train(
        scenario(),
        learner,
        seed=options.seed,
        chunks=2,
        after_chunk=lambda progress: times.append(time.perf_counter()),
    )
    return times[0], times[1], options.ours, options.ours


def _sb3(options: Namespace) -> tuple[float, float, int, int]:
    """The same of stable-baselines3."""
    import torch
    from stable_baselines3 import PPO
    from stable_baselines3.common.vec_env import DummyVecEnv, VecNormalize

    from twosided.adapters.gymnasium import ScenarioEnv

    torch.set_num_threads(1)
    if options.contestant == "SB3, Dummy":
        markets = DummyVecEnv([lambda: ScenarioEnv(scenario())] * options.markets)
    else:
        markets = one_call(options.markets, options.seed)
    rollout = options.markets * options.rollout_steps
    model = PPO(
        "MlpPolicy",
        VecNormalize(markets, gamma=0.9),
        learning_rate=1e-3,
        n_steps=options.rollout_steps,
        batch_size=rollout // options.minibatches,
        n_epochs=options.epochs,
        gamma=0.9,
        gae_lambda=0.5,
        policy_kwargs={"net_arch": {"pi": [64, 64], "vf": [64, 64]}, "activation_fn": torch.nn.Tanh},
        device="cpu",
        seed=options.seed,
    )
    model.learn(rollout)
    ready = time.perf_counter()
    model.learn(options.rollouts * rollout, reset_num_timesteps=False)
    return ready, time.perf_counter(), 1, options.rollouts


if __name__ == "__main__":
    main()
