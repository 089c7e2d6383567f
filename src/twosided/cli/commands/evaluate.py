"""Evaluation of policies: `twosided evaluate`."""

import dataclasses
from dataclasses import dataclass
from pathlib import Path

from twosided.cli.commands.output import print_records
from twosided.cli.commands.run import settings_of
from twosided.core import store
from twosided.core.evaluation import evaluate
from twosided.core.market import Market
from twosided.core.optimum import NotExact, optimum
from twosided.core.policy import Policy
from twosided.core.records import to_frame
from twosided.core.reward import Reward, TotalPnL
from twosided.core.scenario import check_horizon
from twosided.core.validation import check, check_seed
from twosided.dealer.market import DealerMarket
from twosided.dealer.quoters import PersistentQuoter
from twosided.learn.networks import num_features
from twosided.runs.results import trained_policies
from twosided.runs.settings import RunError, TrainSettings, check_fit, named, scenario_of
from twosided.settings import Settings, build


@dataclass(frozen=True)
class Evaluate:
    """Evaluate policies on common random numbers, each in the same seat against the same competitors.

    Examples:

        twosided evaluate --policy persistent-quoter:epsilon-buy=-0.1 --policy random-quoter
        twosided evaluate --run runs/first --steps 10_000_000
    """

    policies: tuple[Policy, ...] = ()
    """Policy to evaluate. Repeat for several."""
    run: Path | None = None
    """Folder of a run, whose trained policies are evaluated. Its market, competitors, reward and horizon are the
    defaults."""
    market: Market = DealerMarket()
    """Market to trade in. Its number of makers follows from the competitors."""
    competitors: tuple[Policy, ...] = (PersistentQuoter(),)
    """Policy in each of the other seats. Repeat for several."""
    reward: Reward = TotalPnL()
    """Reward of the evaluated policies, for the reward metric and the optimality gap."""
    horizon: int = 200
    """Steps per episode."""
    steps: int = 1_000_000
    """Evaluation steps per policy."""
    seed: int = 0
    """Seed of all random numbers."""
    out: Path | None = None
    """File to write the records to, as Parquet."""
    json: bool = False
    """Print the records as JSON."""

    def __post_init__(self):
        check_horizon(self.horizon)
        check_seed(self.seed)
        check("steps", self.steps, "at least 1", self.steps >= 1)

    def __call__(self, settings: Settings) -> int:
        given = {path[0] for path in settings.origins}
        market, competitors, reward, horizon = self.market, self.competitors, self.reward, self.horizon
        if "competitors" not in given and not market.takes_competitors:
            competitors = ()
        trained, evaluated, data = None, {}, ""
        if self.run is not None:
            opened: TrainSettings = build(settings_of(self.run, settings.user_files)[0])
            trained = opened
            evaluated = trained_policies(trained, self.run)
            data = "" if "market" in given else trained.data
            market = market if "market" in given else trained.market.part("test")
            competitors = competitors if "competitors" in given else trained.competitors
            reward = reward if "reward" in given else trained.reward
            horizon = horizon if "horizon" in given else trained.horizon
        evaluated |= named(self.policies)
        if not evaluated:
            raise RunError("nothing to evaluate: give --policy KIND or --run FOLDER, or both")
        scenario = scenario_of(market, competitors, reward, horizon)
        if trained is not None and num_features(scenario) != num_features(trained.scenario):
            raise RunError(
                f"the observations of {self.run} have {num_features(trained.scenario)} numbers, "
                f"but those of this market have {num_features(scenario)}"
            )
        check_fit(scenario, evaluated.values())
        try:
            best = optimum(scenario)
        except NotExact:
            best = None
        records = evaluate(scenario, evaluated, seed=self.seed, steps=self.steps, optimum=best)
        records = [dataclasses.replace(record, data=data) for record in records]
        if self.out is not None:
            store.write_frame(self.out, to_frame(records))
        print_records(records, scenario.market.metrics(), self.json)
        return 0
