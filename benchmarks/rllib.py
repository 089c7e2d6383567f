"""Time until RLlib's PPO and ours are within the same gap of the exact optimum, on one scenario and machine.

    python benchmarks/rllib.py           (needs the extra `rllib`: ray, torch and gymnasium)

The learner's seat against a maker that draws epsilon from Unif[-1, 1]. All are paid own total PnL with inventory PnL's
conditional expectation, see the same observations, and are judged in the same way: the policy's mode on the same
400,000 steps, against the supremum of Theorem 1, after every update of RLlib's and every 25,000 steps of ours. Looks
stop the clock. What imports, starts and compiles, without a cache, stands apart. Three contestants:

    twosided             PPO with the discount of `twosided demo`, its defaults otherwise
    RLlib, paper         RLlib as Ganesh et al. (2019) write of it: two layers of 256 tanh, clip 0.3, minibatches of
                         256, learning rate 5e-5; its defaults otherwise, on one Gymnasium environment
    RLlib, tuned         RLlib with all that we know of the problem: our discount, networks, learning rate, epochs
                         and minibatches, running scales of observations, and 64 markets that take a step in one
                         compiled call, which is our vector environment

RLlib stays in one process: its two remote ones share 2 cores with the learner. Each measurement is a
process of its own.
"""

import json
import math
import os
import statistics
import subprocess
import sys
import time
from argparse import Namespace
from collections.abc import Callable
from typing import Any

from measure import Row, aim, arguments, median_ratio, report

CONTESTANTS = ("twosided", "RLlib, paper", "RLlib, tuned")
PATHS = 2000
"""Episodes that a policy is judged on."""


def main() -> None:
    parser = arguments(__doc__.splitlines()[0], repeats=1)
    parser.add_argument(
        "--gaps", type=float, nargs="+", default=[5.0, 2.0, 1.0], help="percent of the supremum (%(default)s)"
    )
    parser.add_argument(
        "--limit", type=float, default=480.0, help="seconds of training at most (%(default)s)"
    )
    parser.add_argument("--contestant", choices=CONTESTANTS, help="measure this one here and print JSON")
    options = parser.parse_args()
    if options.contestant:
        print(json.dumps(_measure(options)))
        return

    measured: dict[str, list[dict[str, Any]]] = {name: [] for name in CONTESTANTS}
    for repeat in range(options.repeats):
        for name in CONTESTANTS:
            seed = str(options.seed + repeat)
            words = [sys.executable, __file__, *sys.argv[1:], "--contestant", name, "--seed", seed]
            environment = {**os.environ, "JAX_ENABLE_COMPILATION_CACHE": "false"}
            done = subprocess.run(words, env=environment, stdout=subprocess.PIPE, text=True, check=True)
            measured[name].append(json.loads(done.stdout.splitlines()[-1]))
    rows = [_row(name, gap, measured, options.limit) for gap in options.gaps for name in CONTESTANTS]
    ratios = {str(row["learner"]): float(row["ratio"]) for row in rows[1 : len(CONTESTANTS)]}
    goal = f"to {options.gaps[0]:g}%"
    aims = [
        aim(f"{name} / twosided, {goal}", ratio, "at least 30", ratio >= 30) for name, ratio in ratios.items()
    ]
    report(
        "PPO against Unif[-1, 1] to a gap", rows, aims, options, "jax", "ray", "torch", "gymnasium", "numpy"
    )


def _row(name: str, gap: float, measured: dict[str, list[dict[str, Any]]], limit: float) -> Row:
    """A learner on the way to a gap; where it did not arrive, the limit stands for its time."""

    def seconds(name: str, before: bool) -> list[float]:
        return [one["reached"].get(str(gap), [limit])[0] + before * one["before"] for one in measured[name]]

    arrived = [one["reached"][str(gap)] for one in measured[name] if str(gap) in one["reached"]]
    return {
        "gap, %": gap,
        "learner": name,
        "arrived": f"{len(arrived)} of {len(measured[name])}",
        "training, s": statistics.median(seconds(name, False)),
        "steps": statistics.median(steps for _, steps in arrived) if arrived else "",
        "before, s": statistics.median(one["before"] for one in measured[name]),
        "ratio": median_ratio(seconds(name, False), seconds("twosided", False)),
        "ratio with before": median_ratio(seconds(name, True), seconds("twosided", True)),
    }


def _measure(options: Namespace) -> dict[str, Any]:
    """One contestant in this process: seconds before training, and by gap its seconds of training and steps."""
    begin = time.perf_counter()
    clock = _Clock(options)
    (_ours if options.contestant == "twosided" else _rllib)(options, clock)
    return {"before": clock.begin - begin, "reached": clock.reached}


def _ours(options: Namespace, clock: "_Clock") -> None:
    from twosided import PPO, train
    from twosided.learn.train import policies_of

    scenario, learner = _scenario(), PPO(gamma=0.5)
    judge = _judge(options.seed)

    def gap(progress: Any) -> float:
        return judge(policies_of(scenario, learner, progress.states, 1)[0])

    def after_chunk(progress: Any) -> bool:
        return clock.over(int(progress.curve["timesteps"][0]), lambda: gap(progress))

    # What compiles goes before: a chunk, and a look at its policy.
    train(scenario, learner, options.seed, chunks=40, after_chunk=lambda progress: gap(progress) < math.inf)
    clock.start()
    train(scenario, learner, options.seed, chunks=40, after_chunk=after_chunk)


def _rllib(options: Namespace, clock: "_Clock") -> None:
    import gymnasium
    import ray
    import torch

    os.environ["RAY_USAGE_STATS_ENABLED"] = "0"
    torch.set_num_threads(1)  # with two, threads that wait for each other make it several times slower
    ray.init(
        include_dashboard=False, log_to_driver=False, logging_level="ERROR", _node_ip_address="127.0.0.1"
    )
    config = (_tuned if options.contestant == "RLlib, tuned" else _as_in_the_paper)(options.seed)
    algorithm = config.build_algo()
    judge = _judge(options.seed)
    # What compiles goes before: a look, and the steps of the environment, whose programs a second one shares.
    judge(_copied(algorithm))
    again = gymnasium.make_vec(
        config.env,
        config.num_envs_per_env_runner,
        config.gym_env_vectorize_mode,
        **config.env_config,
    )
    again.reset(seed=0)
    for _ in range(300):
        again.step(again.action_space.sample())
    clock.start()
    while not clock.over(
        int(algorithm.train()["num_env_steps_sampled_lifetime"]), lambda: judge(_copied(algorithm))
    ):
        pass
    algorithm.stop()
    ray.shutdown()


def _as_in_the_paper(seed: int) -> Any:
    from ray.rllib.core.rl_module.default_model_config import DefaultModelConfig

    model = DefaultModelConfig(fcnet_hiddens=[256, 256], fcnet_activation="tanh", vf_share_layers=False)
    return _config(seed).rl_module(model_config=model).training(lr=5e-5, clip_param=0.3, minibatch_size=256)


def _tuned(seed: int) -> Any:
    from gymnasium.vector import AutoresetMode
    from ray.rllib.connectors.env_to_module import MeanStdFilter
    from ray.rllib.core.rl_module.default_model_config import DefaultModelConfig

    model = DefaultModelConfig(fcnet_hiddens=[64, 64], fcnet_activation="tanh", vf_share_layers=False)
    return (
        _config(seed, autoreset_mode=AutoresetMode.NEXT_STEP)
        .env_runners(
            num_envs_per_env_runner=64,
            gym_env_vectorize_mode="vector_entry_point",
            env_to_module_connector=lambda env, spaces, device: MeanStdFilter(),
        )
        .rl_module(model_config=model)
        .training(
            gamma=0.5,
            lambda_=0.5,
            lr=1e-3,
            train_batch_size_per_learner=4096,
            minibatch_size=256,
            num_epochs=4,
            use_kl_loss=False,
            clip_param=0.2,
        )
    )


def _config(seed: int, **more: Any) -> Any:
    """What both have: the scenario, in this process."""
    from ray.rllib.algorithms.ppo import PPOConfig

    return (
        PPOConfig()
        .environment(
            "twosided.adapters.gymnasium:twosided/Dealer-v0",
            env_config={"competitors": ["random-quoter:low=-1,high=1"], **more},
        )
        .env_runners(num_env_runners=0)
        .learners(num_learners=0)
        .debugging(seed=seed, log_level="ERROR")
    )


class _Clock:
    """Seconds of training, looks apart, at which each gap was first reached."""

    def __init__(self, options: Namespace):
        self.options, self.reached = options, {}
        self.start()

    def start(self) -> None:
        self.looking, self.begin = 0.0, time.perf_counter()

    def over(self, steps: int, look: Callable[[], float]) -> bool:
        """Whether it is time to stop: every gap is reached, or the limit."""
        since = time.perf_counter()
        training = since - self.begin - self.looking
        gap = look()
        self.looking += time.perf_counter() - since
        print(
            f"{self.options.contestant}: {training:.1f} s, {steps:,} steps, gap {gap:.2f}%", file=sys.stderr
        )
        for goal in self.options.gaps:
            if gap <= goal:
                self.reached.setdefault(str(goal), [training, steps])
        return len(self.reached) == len(self.options.gaps) or training > self.options.limit


def _scenario() -> Any:
    from twosided import DealerMarket, RandomQuoter, Scenario

    return Scenario(DealerMarket(), (RandomQuoter(low=-1.0, high=1.0),))


def _judge(seed: int) -> Callable[[Any], float]:
    """Percent of the supremum that a policy stays below, inventory PnL in expectation, on chance of its own."""
    import equinox as eqx
    import jax

    from twosided import optimum
    from twosided.core.rollout import episodes

    scenario = _scenario()
    supremum = optimum(scenario).value

    def earned(observation: Any, policy_state: Any, step: Any) -> Any:
        pnl = step.transition.pnl
        return (pnl.total - pnl.inventory + step.transition.expected_inventory_pnl)[0]

    @eqx.filter_jit
    def score(policy: Any) -> Any:
        return episodes(scenario, policy, jax.random.key(2**30 + seed), PATHS, earned).mean()

    return lambda policy: float(100 * (1 - score(policy) / supremum))


def _copied(algorithm: Any) -> Any:
    """RLlib's policy at its mode, as one of ours."""
    import jax.numpy as jnp
    from jax.flatten_util import ravel_pytree
    from ray.rllib.connectors.env_to_module import MeanStdFilter

    from twosided import Policy
    from twosided.learn.networks import features

    space = _scenario().action_space
    (low, unravel), (high, _) = ravel_pytree(space.low), ravel_pytree(space.high)

    class Copied(Policy):
        layers: Any
        mean: Any
        deviation: Any

        def shocks(self, key, shape):
            return None

        def init(self):
            return None

        def act(self, shock, state, observation):
            x = (features(observation) - self.mean) / (self.deviation + 1e-8)
            (w1, b1), (w2, b2), (w3, b3) = self.layers
            # The head's first half are means, in [-1, 1] whatever the bounds of an action.
            head = w3 @ jnp.tanh(w2 @ jnp.tanh(w1 @ x + b1) + b2) + b3
            share = (jnp.clip(head[: low.size], -1, 1) + 1) / 2
            return unravel(low + share * (high - low)), state

    weights = {
        name: jnp.asarray(value.numpy()) for name, value in algorithm.get_module().state_dict().items()
    }
    size = weights["encoder.actor_encoder.net.mlp.0.weight"].shape[1]
    names = ("encoder.actor_encoder.net.mlp.0", "encoder.actor_encoder.net.mlp.2", "pi.net.mlp.0")
    mean, deviation = jnp.zeros(()), jnp.ones(())
    for connector in algorithm.env_runner._env_to_module.connectors:
        if isinstance(connector, MeanStdFilter) and connector._filters:
            running = connector._filters[None].running_stats
            mean, deviation = jnp.asarray(running.mean, jnp.float32), jnp.asarray(running.std, jnp.float32)
    layers = [(weights[f"{name}.weight"], weights[f"{name}.bias"]) for name in names]
    return Copied(layers, jnp.broadcast_to(mean, size), jnp.broadcast_to(deviation, size))


if __name__ == "__main__":
    main()
