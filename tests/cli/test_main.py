"""Command line: help, one-line errors, and commands on small cases."""

import json
import subprocess
import sys

import pytest
from support.command_line import call

from twosided.cli.main import COMMANDS, ROOTS

PROBE = "import sys; from twosided.cli.main import main\ntry: main({argv!r})\nexcept SystemExit as e: code = e.code\n"
PROBE += "print(code, sorted({{'jax', 'equinox', 'polars', 'plotly', 'scipy'}} & set(sys.modules)))"


@pytest.mark.parametrize("command", [*ROOTS, (), ("calibrate",)], ids=" ".join)
def test_help_imports_no_heavy_library(command):
    argv = [*command, "--help"]
    done = subprocess.run(
        [sys.executable, "-c", PROBE.format(argv=argv)], capture_output=True, text=True, check=False
    )
    assert done.stdout.splitlines()[-1] == "0 []", done.stderr
    assert "usage: twosided" in done.stdout


def test_overview_names_every_command(capsys):
    code, out, _ = call(capsys, "--help")
    assert code == 0
    assert all(name in out for name in COMMANDS)


@pytest.mark.parametrize(
    ("argv", "sentence"),
    [
        (["trian"], "unknown command trian; did you mean train?"),
        (["calibrate", "bok", "x"], "unknown model bok; did you mean book?"),
        (["train", "--learner.learning-rat", "1"], "did you mean --learner.learning-rate?"),
        (["train", "--competitor", "persistant"], "did you mean persistent-quoter?"),
        (["demo", "--competitor", "persistnt-0.5"], "one of persistent-0, persistent-0.5"),
        (["train", "--market.flow.count", "many"], "--market.flow.count"),
        (
            ["train", "--market.price.volatility", "-1"],
            "volatility must be at least 0 and finite, but got -1.0",
        ),
        (["train", "--market.hedge-cost", "nan"], "--market.hedge-cost"),
        (["train", "--seeds", "0"], "seeds must be at least 1, but got 0"),
        (["train", "--resume", "nowhere"], "cannot read nowhere"),
        (["show", "nowhere"], "nowhere is not a run"),
        (["evaluate"], "nothing to evaluate"),
        (["calibrate", "book", "nowhere.csv"], "nowhere.csv"),
        (["list", "marktes"], "markets"),
    ],
)
def test_invalid_command_lines_give_a_one_line_error(capsys, argv, sentence):
    code, out, err = call(capsys, *argv)
    assert code == 2
    assert out == ""
    assert err.count("\n") == 1
    assert sentence in err


def test_list_prints_text_and_json(capsys):
    code, out, _ = call(capsys, "list")
    assert code == 0
    assert "dealer-market" in out
    _, out, _ = call(capsys, "list", "policies", "--json")
    policies = {"adaptive-quoter", "full-hedger", "persistent-quoter", "random-quoter", "split-policy"}
    assert policies <= json.loads(out)["policies"].keys()


def test_evaluate_matches_the_value_of_a_persistent_quoter(capsys):
    argv = (
        "evaluate --policy persistent-quoter:epsilon_buy=-0.1,epsilon_sell=-0.1,hedge=0 --policy random-quoter "
        "--steps 20000"
    )
    code, out, _ = call(capsys, *argv.split(), "--json")
    assert code == 0
    records = {(r["case"], r["maker"], r["metric"]): r for r in json.loads(out)}
    spread = records["persistent quoter", 0, "pnl_spread"]
    # It wins all orders, worth 0.94 per step at the exchange's spread, at 0.9 of that spread.
    assert abs(spread["value"] - 0.9 * 0.94) < 4 * spread["error"]
    assert records["persistent quoter", 0, "market_share"]["value"] == 1
    assert code == 0


@pytest.mark.slow  # a minute, and `.ci/run` ends with a demo of its own
def test_demo_trains_evaluates_and_writes_its_page(capsys, tmp_path):
    folder = tmp_path / "run"
    argv = ["demo", "--competitor", "random-0.5", "--learner.total-timesteps", "8192"]
    argv += ["--learner.num-envs", "16", "--learner.hidden-sizes", "8"]
    argv += ["--seeds", "2", "--chunks", "2", "--evaluation-steps", "4000"]
    code, out, _ = call(capsys, *argv, "--out", str(folder))
    assert code == 0
    assert "optimality gap" in out
    page = (folder / "report.html").read_text()
    assert "Ganesh" in page

    (folder / "report.html").unlink()
    code, out, _ = call(capsys, "show", str(folder), "--json")
    assert code == 0
    assert {r["case"] for r in json.loads(out)} >= {"seed 0", "seed 1", "mean of seeds"}
    assert (folder / "report.html").read_text() == page

    code, out, _ = call(capsys, "evaluate", "--run", str(folder), "--steps", "4000", "--json")
    assert code == 0
    evaluated = {
        r["case"]: r["value"] for r in json.loads(out) if r["metric"] == "epsilon_buy_mean" and not r["maker"]
    }
    assert evaluated.keys() == {"seed 0", "seed 1"}


def test_calibrated_book_is_accepted_by_other_commands(capsys, tmp_path):
    rows = ["ask_price_1,ask_size_1,bid_price_1,bid_size_1,ask_price_2,ask_size_2,bid_price_2,bid_size_2"]
    for i in range(60):
        size = 100 + 37 * i % 90
        rows.append(f"100.02,{size},100.00,{size + 5},100.03,{2 * size},99.99,{150 + size}")
    (tmp_path / "snapshots.csv").write_text("\n".join(rows) + "\n")
    book = tmp_path / "book.toml"
    code, out, err = call(capsys, "calibrate", "book", str(tmp_path / "snapshots.csv"), "--out", str(book))
    assert code == 0, err
    assert "volume_scale" in out
    assert (tmp_path / "book.html").stat().st_size > 1000
    argv = ["evaluate", "--policy", "persistent-quoter", "--steps", "2000", "--book", str(book), "--json"]
    code, out, err = call(capsys, *argv)
    assert code == 0, err
    assert json.loads(out)
