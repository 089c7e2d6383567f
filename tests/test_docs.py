"""Documentation pages: Python blocks run, settings are valid, and commands parse."""

import json
import re
import shlex
import tomllib
from pathlib import Path

import pytest
from support.command_line import call

from twosided.cli.main import ALIASES, OPEN_RUNS, POSITIONAL, ROOTS
from twosided.settings import parse, preset_files, read

ROOT = Path(__file__).parents[1]
# Built pages in docs/_build are not sources.
SOURCES = [path for path in sorted((ROOT / "docs").rglob("*.md")) if "_build" not in path.parts]
PAGES = [ROOT / "README.md", *SOURCES]


def blocks(page: Path, language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```", page.read_text(), re.MULTILINE | re.DOTALL)


def write_files(page: Path) -> None:
    """Write the Python blocks that begin with the comment of a file name, such as # pendulum.py, to these files."""
    for block in blocks(page, "python"):
        if name := re.match(r"# (\w+\.py)\n", block):
            Path(name[1]).write_text(block)


def write_lobster_pair() -> None:
    """Write LOBSTER files of forty new orders at the best bid, with a spread of a few cents."""
    messages, rows = [], []
    for i in range(40):
        size = 100 + 37 * i % 90
        messages.append(f"{34200 + i},1,{i + 1},{10 + i % 7},1000000,1")
        rows.append(
            f"1000200,{size},1000000,{5000 + sum(10 + j % 7 for j in range(i + 1))},1000300,{2 * size},999900,300"
        )
    Path("MSFT_message_10.csv").write_text("\n".join(messages) + "\n")
    Path("MSFT_orderbook_10.csv").write_text("\n".join(rows) + "\n")


@pytest.mark.extended
@pytest.mark.parametrize("page", [p for p in PAGES if blocks(p, "python")], ids=lambda p: p.name)
def test_python_blocks_run(page, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    write_lobster_pair()
    names: dict = {}
    for block in blocks(page, "python"):
        # Fewer steps run the same code.
        exec(compile(block.replace("steps=200_000", "steps=20_000"), str(page), "exec"), names)


@pytest.mark.parametrize("page", [p for p in PAGES if blocks(p, "toml")], ids=lambda p: p.name)
def test_settings_blocks_are_valid_settings(page):
    for block in blocks(page, "toml"):
        read("twosided.runs.settings:TrainSettings", tomllib.loads(block))


def commands(page: Path) -> list[str]:
    lines = [line for block in blocks(page, "console") for line in block.splitlines()]
    return [line.removeprefix("$ ") for line in lines if line.startswith("$ twosided")]


@pytest.mark.parametrize(
    ("page", "command"), [(page, command) for page in PAGES for command in commands(page)]
)
def test_commands_parse(page, command, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    write_files(page)
    words = shlex.split(command)[1:]
    name = tuple(words[: 2 if words[0] == "calibrate" else 1])
    # Settings files of the examples do not exist, so they are left out with their options.
    words = [word for word in words[len(name) :] if word != "--help"]
    after = [*words[1:], ""]
    arguments = [
        word
        for word, following in zip(words, after, strict=False)
        if not (word.endswith(".toml") or (word.startswith("--") and following.endswith(".toml")))
    ]
    presets = preset_files() if name == ("train",) else {}
    parse(
        ROOTS[name],
        arguments,
        prog="twosided",
        positional=POSITIONAL.get(name, []),
        aliases=ALIASES,
        presets=presets,
        named_parts={"competitor": preset_files("demo-")} if name == ("demo",) else {},
        opens_runs=name in OPEN_RUNS,
    )


def test_own_market_of_the_guide_is_trained_and_evaluated(tmp_path, monkeypatch, capsys):
    page = ROOT / "docs" / "guides" / "own_market.md"
    monkeypatch.chdir(tmp_path)
    write_files(page)
    small = "--learner.total-timesteps 256 --learner.num-envs 4 --learner.num-steps 16 --learner.num-minibatches 2 "
    small += (
        "--learner.hidden-sizes 4 --horizon 20 --seeds 1 --chunks 1 --evaluation-steps 200 --json --out run"
    )
    code, out, err = call(capsys, *shlex.split(commands(page)[0])[1:], *small.split())
    assert code == 0, err
    metrics = {row["metric"]: row["value"] for row in json.loads(out) if row["case"] == "seed 0"}
    # The whole reward of a task without prices is one part of PnL.
    assert metrics["reward"] == pytest.approx(metrics["pnl_spread"]) and metrics["reward"] < 0
    assert metrics["pnl_total"] == pytest.approx(metrics["pnl_spread"])
    assert Path("run/report.html").stat().st_size > 1000


def test_links_of_the_readme_exist():
    links = re.findall(r"\]\(([^)#:]+)\)", (ROOT / "README.md").read_text())
    assert links
    for link in links:
        assert (ROOT / link).exists(), link


def test_the_setup_commands_of_the_readme_are_marked_for_ci():
    readme = (ROOT / "README.md").read_text()
    for name in ("demo", "tests"):
        block = re.search(rf"<!-- {name} -->\n```sh\n(.+)\n```\n<!-- /{name} -->", readme)
        assert block, name
        assert "constraints.txt" in block[1]
        assert "\n" not in block[1]


def test_results_in_the_readme_are_those_of_the_measured_table():
    rows = json.loads((ROOT / "docs" / "tables" / "ganesh2019_demo.json").read_text())["rows"]
    lines = [
        f"| {' | '.join(cells)} |"
        for cells in (rows[0], ["---"] * len(rows[0]), *(row.values() for row in rows))
    ]
    assert "\n".join(lines) in (ROOT / "README.md").read_text()


def test_measured_tables_exist_and_are_all_shown():
    shown = {name for page in SOURCES for name in re.findall(r"\{measured\} (\w+)", page.read_text())}
    assert shown == {path.stem for path in (ROOT / "docs" / "tables").glob("*.json")}
