"""The hedging and portfolio markets from the command line: runs, their pages, comparisons and errors."""

import json
import shutil

import pytest

from twosided.cli.commands.run import _page_of
from twosided.cli.main import main
from twosided.core import store
from twosided.runs import run as runs
from twosided.runs.results import read_results
from twosided.runs.run import StopFlag, run
from twosided.settings import build, dump, parse, preset_files

pytestmark = pytest.mark.extended

TINY = "--learner.total-timesteps 96 --learner.hidden-sizes 4 --learner.num-envs 8 --learner.gradient-steps 1"
TINY += " --learner.batch-size 8 --chunks 3"
TINY += " --no-exact --learner.learning-starts 8 --learner.buffer-size 64 --horizon 16 --evaluation-steps 160 --seeds 2"
TINY += " --reference none"


def tiny():
    words = ["--preset", "single-asset", *TINY.split()]
    settings = parse("twosided.runs.settings:TrainSettings", words, prog="train", presets=preset_files())
    return build(settings), dump(settings)


def call(capsys, *words):
    with pytest.raises(SystemExit) as ended:
        main(words)
    out, err = capsys.readouterr()
    return ended.value.code, out, err


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """Return the folder of a finished run, and its snapshots during training."""
    folder, seen = tmp_path_factory.mktemp("hedging") / "plain", []
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(runs, "SNAPSHOT_INTERVAL", 0)
        assert run(*tiny(), folder, on_snapshot=seen.append)
    return folder, seen


def test_a_training_run_offers_snapshots(whole):
    folder, seen = whole
    assert [verdict.about["done"] for verdict in seen] == [pytest.approx(1 / 3), pytest.approx(2 / 3)]
    last = read_results(folder)
    for chunks, verdict in enumerate(seen, start=1):
        assert verdict.curve.equals(last.curve.head(2 * chunks)), "a row a seed and chunk"
        newest = verdict.curve.tail(2).sort("eval_reward")
        assert verdict.about["traced"] == f"seed {newest['seed'][-1]}", "the one that is paid most"
        assert {"hedge_position", "client_position"} <= set(verdict.trace.columns)


def test_snapshots_take_a_small_part_of_the_time(tmp_path):
    seen = []
    assert run(*tiny(), tmp_path / "run", on_snapshot=seen.append)
    assert len(seen) == 1, "the rest of the run is shorter than 20 times the first snapshot"


def test_page_shows_the_dashboard_and_reloads_until_the_run_is_finished(whole, tmp_path, capsys):
    _, seen = whole
    _page_of(tmp_path, *tiny())(seen[0])
    page = (tmp_path / store.REPORT).read_text()
    assert '<meta http-equiv="refresh"' in page
    assert "Training is in progress: 33% done." in page
    assert "half-spreads, currency per unit" in page and "reward per step" in page
    code, out, _ = call(capsys, "show", str(whole[0]))
    page = (whole[0] / store.REPORT).read_text()
    assert code == 0 and "Sharpe" in out and "share %" not in out
    assert 'http-equiv="refresh"' not in page and "Training is in progress" not in page
    assert f"One episode ({read_results(whole[0]).about['traced']})" in page
    assert "Hedges and skew" in page and "market share" not in page


def test_resumed_sac_run_is_bit_identical_including_replay(whole, tmp_path):
    for _ in range(2):
        assert not run(*tiny(), tmp_path / "run", StopFlag(is_set=True))
    assert run(*tiny(), tmp_path / "run")
    ends = [store.read_header(folder / store.CHECKPOINT)["sha256"] for folder in (tmp_path / "run", whole[0])]
    assert ends[0] == ends[1]


def test_runs_are_listed_and_compared_on_common_random_numbers(whole, tmp_path, capsys):
    folder = tmp_path / "runs"
    for name in ("plain", "copy"):
        shutil.copytree(whole[0], folder / name)
    run(*tiny(), folder / "half", StopFlag(is_set=True))
    (folder / "other").mkdir()
    (folder / "other" / store.SETTINGS).write_text("of = 'something else'\n")
    code, out, _ = call(capsys, "runs", str(folder), "--json")
    found = {row["run"].rpartition("/")[2]: row for row in json.loads(out)}
    assert code == 0 and found.keys() == {"plain", "copy", "half"}
    assert (found["half"]["done"], found["half"]["sharpe"]) == (pytest.approx(1 / 3), None)
    assert found["plain"] | {"run": ""} == found["copy"] | {"run": ""}
    assert (found["plain"]["market"], found["plain"]["learner"]) == ("hedging-market", "sac")
    assert "plain" in call(capsys, "runs", str(folder))[1]

    page = tmp_path / "page.html"
    words = ["compare", str(folder / "plain"), str(folder / "copy"), "--steps", "160", "--out", str(page)]
    code, out, _ = call(capsys, *words, "--json")
    numbers = {(row["case"], row["metric"]): row["value"] for row in json.loads(out)}
    assert code == 0
    assert numbers["plain", "sharpe"] == numbers["copy", "sharpe"]
    # Equal to the evaluation of the run itself, which has the same market and random numbers.
    assert numbers["plain", "pnl_total"] == pytest.approx(found["plain"]["pnl"], rel=1e-6)
    text = page.read_text()
    assert "All makers met the same prices." in text and "One episode, side by side" in text
    assert "One episode (plain)" in text and "One episode (copy)" in text


HEDGING = "--market hedging-market"


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (
            f"train {HEDGING} --competitor persistent-quoter",
            "hedging-market takes no competitors",
        ),
        (
            "train --preset portfolio --competitor random-quoter",
            "portfolio-market takes no competitors",
        ),
        (
            f"train {HEDGING} --learner sarsa",
            "SARSA cannot learn in HedgingMarket with these parts: learner needs a market with a finite list",
        ),
        (
            f"train {HEDGING} --reference persistent-quoter",
            "PersistentQuoter cannot play in HedgingMarket with these parts",
        ),
        (
            "train --preset portfolio --reference.weights 1,0,0",
            "PortfolioHedger cannot play in PortfolioMarket",
        ),
        (
            "train --preset portfolio --market.weights 0.5,0.6",
            "--market.weights: weights must be one for each of",
        ),
        (
            "train --preset skew --market.price equal-correlation",
            "--market.price takes one of garch, merton-jumps, heston",
        ),
        ("train --preset skew --market.elasticity -1", "--market.elasticity: elasticity must be at least 0"),
        ("train --preset skew --reward.discount 1", "--reward.discount: discount must be in [0, 1)"),
        (
            "train --preset skew --learner.buffer-size 9",
            "--learner.buffer-size: buffer_size must be at least 1024, the steps of a rollout or of learning_starts",
        ),
        (
            "evaluate --policy fractional-hedger",
            "FractionalHedger cannot play in DealerMarket with these parts: its actions differ",
        ),
        (
            f"evaluate {HEDGING} --policy persistent-quoter",
            "PersistentQuoter cannot play in HedgingMarket with these parts",
        ),
        (f"evaluate {HEDGING} --policy portfolio-hedger", "PortfolioHedger cannot play in HedgingMarket"),
        (
            "evaluate --market portfolio-market --policy full-hedger",
            "FullHedger cannot play in PortfolioMarket",
        ),
        (
            f"evaluate {HEDGING} --policy full-hedger --competitor random-quoter",
            "hedging-market takes no competitors",
        ),
        ("compare nowhere", "cannot read nowhere/settings.toml"),
        ("compare", "RUNS is missing"),
        ("compare somewhere --out .", "--out: out must be a file, not a folder"),
        ("runs nowhere", "there is no folder nowhere"),
    ],
)
def test_invalid_combinations_are_refused_in_one_sentence(
    unchecked_types, words, message, capsys, tmp_path, monkeypatch
):
    monkeypatch.chdir(tmp_path)
    code, out, err = call(capsys, *words.split())
    assert code == 2, out
    assert err.startswith(f"twosided: {message}") and err.count("\n") == 1


def test_comparing_runs_of_different_markets_raises(whole, tmp_path, capsys):
    other = tmp_path / "other"
    settings = parse(
        "twosided.runs.settings:TrainSettings", ["--learner.total-timesteps", "96"], prog="train"
    )
    store.write(other / store.SETTINGS, dump(settings))
    code, _, err = call(capsys, "compare", str(whole[0]), str(other))
    assert code == 2
    assert "other is of dealer-market and plain of hedging-market" in err
    # A policy of another market is refused before anything is evaluated.
    code, _, err = call(capsys, "compare", str(whole[0]), "--policy", "persistent-quoter")
    assert code == 2 and "PersistentQuoter cannot play in HedgingMarket" in err


def test_markets_without_competitors_need_no_competitor_option(capsys):
    words = ["--market", "electronic-market", "--policy", "threshold-policy", "--steps", "1500", "--json"]
    code, out, _ = call(capsys, "evaluate", *words)
    assert code == 0 and {row["maker"] for row in json.loads(out)} == {0}
