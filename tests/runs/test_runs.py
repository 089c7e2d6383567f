"""Runs: resuming is bit-identical, finished stages are not repeated, and folders are checked."""

import signal
import subprocess
import sys
import time

import pytest

from twosided.cli.main import main
from twosided.core import store
from twosided.core.errors import Refusal
from twosided.runs.results import read_results, trained_policies
from twosided.runs.run import StopFlag, run
from twosided.runs.settings import RunError, TrainSettings
from twosided.settings import build, dump, read

pytestmark = pytest.mark.extended

SMALL = {
    "learner": {
        "kind": "ppo",
        "total_timesteps": 1792,
        "num_envs": 16,
        "num_steps": 16,
        "num_epochs": 1,
        "num_minibatches": 2,
        "hidden_sizes": [8],
        "gamma": 0.0,
    },
    "horizon": 20,
    "seeds": 2,
    "chunks": 4,
    "evaluation_steps": 2000,
}
OPTIONS = (
    "--learner.total-timesteps 1792 --learner.num-envs 16 --learner.num-steps 16 --learner.num-epochs 1 "
)
OPTIONS += (
    "--learner.num-minibatches 2 --learner.hidden-sizes 8 --horizon 20 --seeds 2 --evaluation-steps 2000"
)


def small(**changes) -> tuple[TrainSettings, str]:
    settings = read("twosided.runs.settings:TrainSettings", SMALL | changes)
    return build(settings), dump(settings, meanings=False)


@pytest.fixture(scope="module")
def uninterrupted(tmp_path_factory):
    """Folder of an uninterrupted run."""
    folder = tmp_path_factory.mktemp("uninterrupted") / "run"
    assert run(*small(), folder)
    return folder


def checksum(folder):
    return store.read_header(folder / store.CHECKPOINT)["sha256"]


def test_run_writes_what_a_page_needs(uninterrupted):
    results = read_results(uninterrupted)
    assert results.curve.height == 2 * 4
    assert results.curve["timesteps"].max() == 2048
    assert {record.case for record in results.records} == {
        "seed 0",
        "seed 1",
        "mean of seeds",
        "best response",
    }
    assert results.about["optimum"]["value"] == pytest.approx(0.94, abs=1e-4)
    assert results.about["seconds"].keys() == {"training", "evaluation"}
    assert results.trace["time"].max() == 19


def test_resume_after_each_chunk_is_bit_identical(uninterrupted, tmp_path):
    folder, settings = tmp_path / "run", small()
    for _ in range(3):
        assert not run(*settings, folder, StopFlag(is_set=True))
        with pytest.raises(RunError, match="not finished; resume it with: twosided train --resume"):
            read_results(folder)
    assert run(*settings, folder)
    assert checksum(folder) == checksum(uninterrupted)
    assert read_results(folder).records == read_results(uninterrupted).records
    assert read_results(folder).curve.equals(read_results(uninterrupted).curve)


def test_finished_run_is_not_repeated(uninterrupted):
    before = {path.name: path.stat().st_mtime_ns for path in uninterrupted.iterdir()}
    assert run(*small(), uninterrupted)
    assert before == {path.name: path.stat().st_mtime_ns for path in uninterrupted.iterdir()}


def test_folder_holds_one_run(uninterrupted, tmp_path):
    with pytest.raises(RunError, match="holds a run with other settings"):
        run(*small(seed=1), uninterrupted)
    (tmp_path / "thesis.tex").write_text("years of work")
    with pytest.raises(Refusal, match="is not empty and holds no run"):
        run(*small(), tmp_path)
    with pytest.raises(RunError, match="is not a run"):
        read_results(tmp_path)


def test_trained_policies_are_read_back(uninterrupted):
    policies = trained_policies(small()[0], uninterrupted)
    assert list(policies) == ["seed 0", "seed 1"]


def test_scenario_without_an_exact_optimum_gives_the_reason(tmp_path):
    settings = small(market={"kind": "dealer-market", "price": {"kind": "geometric-brownian", "drift": 0.1}})
    assert run(*settings, tmp_path / "run")
    results = read_results(tmp_path / "run")
    assert "without drift" in results.about["optimum"]["why_not"]
    assert results.curve["optimality_gap"].null_count() == results.curve.height
    assert not any(record.metric == "optimality_gap" for record in results.records)


def begin(*words):
    command = [sys.executable, "-m", "twosided", "train", *words]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)


def wait_for_checkpoint(folder, process, after=0):
    deadline = time.monotonic() + 120
    while not (folder / store.CHECKPOINT).exists() or reached(folder) <= after:
        if process.poll() is not None:
            return
        assert time.monotonic() < deadline
        time.sleep(0.01)


def reached(folder):
    return store.read_header(folder / store.CHECKPOINT)["iteration"]


def test_kill_9_loses_at_most_a_chunk_and_ctrl_c_saves_and_names_the_command_to_resume(
    uninterrupted, tmp_path
):
    folder = tmp_path / "run"
    process = begin(*OPTIONS.split(), "--chunks", "4", "--out", str(folder))
    wait_for_checkpoint(folder, process)
    process.kill()
    output, _ = process.communicate()
    assert (folder / store.CHECKPOINT).exists(), output
    first = reached(folder)
    assert first >= 2

    process = begin("--resume", str(folder))
    wait_for_checkpoint(folder, process, after=first)
    process.send_signal(signal.SIGINT)
    output, _ = process.communicate(timeout=120)
    # The signal may come too late to stop the run; if it stops it, the command to resume is printed.
    assert process.returncode in (0, 130), output
    if process.returncode == 130:
        assert f"twosided train --resume {folder}" in output.replace("\n", "")
    assert "Traceback" not in output
    assert reached(folder) >= first

    # Resumed in this process, which has the compiled programs.
    with pytest.raises(SystemExit) as ended:
        main(["train", "--resume", str(folder)])
    assert ended.value.code == 0
    # The command's learner trains as SMALL does, so the results are bit-identical to those of the uninterrupted run.
    assert checksum(folder) == checksum(uninterrupted)
    assert read_results(folder).records == read_results(uninterrupted).records
