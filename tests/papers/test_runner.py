"""Cases are run once, whatever happens to the processes that run them."""

import os
import signal
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path

import pytest
from support import toy_study

from twosided.core import store
from twosided.core.errors import Refusal
from twosided.papers.base import Budget, Case, Outcome
from twosided.papers.folder import do, finished, read_about, read_outcomes
from twosided.papers.runner import find_study, run_cases
from twosided.runs.run import StopFlag
from twosided.runs.settings import RunError

TOY, BUDGET = "support.toy_study:STUDY", Budget(quick=True, seeds=2, seed=0)
COMMAND = [sys.executable, "-m", "twosided", "reproduce", TOY, "--quick"]
ENVIRONMENT = {
    "PYTHONPATH": os.pathsep.join(
        filter(None, [str(Path(__file__).parents[1]), os.environ.get("PYTHONPATH")])
    )
}


@pytest.fixture
def log(tmp_path, monkeypatch):
    """The names of the cases that have begun, and the processes that ran them."""
    path = tmp_path / "log"
    path.touch()
    monkeypatch.setenv("LOG", str(path))
    return lambda: [(name, int(pid)) for name, pid in map(str.split, path.read_text().splitlines())]


def cases(*names):
    return [case for case in toy_study.STUDY.cases if case.name in names]


def names(log):
    return [name for name, _ in log()]


def test_a_finished_case_is_never_run_again(tmp_path, log):
    folder = tmp_path / "out"
    assert run_cases(TOY, cases("good"), BUDGET, folder) == {}
    assert run_cases(TOY, cases("good", "better"), BUDGET, folder) == {}
    assert run_cases(TOY, cases("good", "better"), BUDGET, folder, workers=2) == {}
    assert names(log) == ["good", "better"]


def test_what_was_found_comes_back(tmp_path):
    assert run_cases(TOY, cases("good", "better"), BUDGET, tmp_path / "out") == {}
    found = read_outcomes(tmp_path / "out", toy_study.STUDY.cases, BUDGET)
    assert list(found) == ["good", "better"]
    for case in cases("good", "better"):
        made = case.run(BUDGET, lambda text: None)
        assert found[case.name].records == made.records
        assert found.frame(case.name, "curve").equals(made.frames["curve"])
    about = read_about(tmp_path / "out", toy_study.STUDY.cases)
    assert about["good"]["budget"] == {"quick": True, "seeds": 2, "seed": 0, "bars": []}
    assert 0 < about["good"]["seconds"] < 60
    assert about["good"]["memory_mib"] > 10


def test_a_case_that_fails_is_told_of_and_the_others_go_on(tmp_path):
    folder, events = tmp_path / "out", []
    failures = run_cases(TOY, cases("good", "broken", "better"), BUDGET, folder, watch=events.append)
    assert failures.keys() == {"broken"}
    assert failures["broken"].startswith("ArithmeticError: the books <b>do not</b> balance (in full: ")
    assert "in breaks" in (folder / "cases/broken/error.txt").read_text()
    assert finished(folder, "better")
    assert not finished(folder, "broken")
    over = [(event.case, event.kind, event.done, event.total) for event in events if event.done > 0]
    assert ("broken", "failed", 2, 3) in over
    assert over[-1] == ("better", "finished", 3, 3)
    assert [event.text for event in events if event.kind == "tells"] == [
        "good with 2 seeds",
        "better with 2 seeds",
    ]


def test_a_case_that_succeeds_at_last_leaves_no_error(tmp_path):
    def fails(budget, tell):
        raise ValueError("not today")

    assert do(Case("moody", fails), BUDGET, tmp_path, print)[1].startswith("ValueError: not today")
    assert do(Case("moody", lambda budget, tell: Outcome([])), BUDGET, tmp_path, print)[1] == ""
    assert {path.name for path in (tmp_path / "cases/moody").iterdir()} == {"about.json", "records.parquet"}


@pytest.mark.parametrize("name", ["records", "../curve", "a/b"])
def test_a_frame_stays_in_its_folder(tmp_path, name):
    curve = cases("good")[0].run(BUDGET, lambda text: None).frames["curve"]
    case = Case("stray", lambda budget, tell: Outcome([], {name: curve}))
    assert "the name of a frame must be a plain one" in do(case, BUDGET, tmp_path, print)[1]
    assert not finished(tmp_path, "stray")


def test_a_folder_holds_one_study_and_budget(tmp_path):
    folder = tmp_path / "out"
    run_cases(TOY, cases("good"), BUDGET, folder)
    for other in (Budget(False, 2, 0), Budget(True, 3, 0), Budget(True, 2, 1)):
        with pytest.raises(RunError, match=r"holds toy \(quick, seeds 2, seed 0\); choose another --out"):
            run_cases(TOY, cases("good"), other, folder)
    (folder / store.SETTINGS).write_text("study = [")
    with pytest.raises(RunError, match="is not TOML"):
        run_cases(TOY, cases("good"), BUDGET, folder)
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "thesis.tex").write_text("years of work")
    with pytest.raises(Refusal, match="is not empty and holds no study"):
        run_cases(TOY, cases("good"), BUDGET, tmp_path / "mine")
    with pytest.raises(Refusal, match=r"thesis.tex is not a folder; choose another --out"):
        run_cases(TOY, cases("good"), BUDGET, tmp_path / "mine" / "thesis.tex")


@pytest.mark.parametrize(
    ("reference", "sentence"),
    [
        ("no_such_module:STUDY", "no study is found at no_such_module:STUDY"),
        ("support.toy_study:TABLE", "no study is found at support.toy_study:TABLE"),
        ("support.toy_study:CLAIMS", "support.toy_study:CLAIMS is not a study, but a tuple"),
        (":", "no study is found at :"),
    ],
)
def test_what_is_no_study_is_refused(reference, sentence):
    with pytest.raises(RunError, match=sentence):
        find_study(reference)


@pytest.mark.parametrize("workers", [1, 2])
def test_a_stop_ends_the_case_that_runs_and_begins_no_other(tmp_path, log, monkeypatch, workers):
    monkeypatch.setenv("UNTIL", str(tmp_path / "never"))
    stop, told = StopFlag(), []

    def watch(event):
        told.append(event)
        stop.is_set = event.case == "slow" and event.kind == "tells"

    todo = cases("slow", "better") if workers == 1 else cases("slow", "good")
    assert run_cases(TOY, todo, BUDGET, tmp_path / "out", workers, stop, watch) == {}
    assert not finished(tmp_path / "out", "slow")
    assert names(log).count("slow") == 1
    assert "better" not in names(log)


def test_a_process_that_dies_takes_only_its_case_with_it(tmp_path, log):
    todo = cases("good", "broken", "dying", "better")
    failures = run_cases(TOY, todo, BUDGET, tmp_path / "out", workers=2)
    assert failures.keys() == {"broken", "dying"}
    assert failures["dying"] == "its process ended with code 7"
    assert finished(tmp_path / "out", "good")
    assert finished(tmp_path / "out", "better")
    assert Counter(names(log)) == {"good": 1, "broken": 1, "dying": 1, "better": 1}
    assert os.getpid() not in {pid for _, pid in log()}


def wait_until(condition, seconds=60):
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.02)


def alive(pid):
    """Whether a process lives; one that only waits to be buried does not."""
    done = subprocess.run(["ps", "-o", "stat=", "-p", str(pid)], capture_output=True, text=True, check=False)
    return done.stdout.strip()[:1] not in ("", "Z")


def begin(folder, item="figure-3", **environment):
    return subprocess.Popen(
        [*COMMAND, item, "--workers", "2", "--out", str(folder)],
        env=os.environ | ENVIRONMENT | environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
    )


def test_kill_9_loses_only_the_cases_in_flight_and_leaves_no_process(tmp_path, log):
    folder = tmp_path / "out"
    process = begin(folder, UNTIL=str(tmp_path / "never"))
    wait_until(lambda: finished(folder, "better") and "slow" in names(log))
    process.kill()
    process.communicate()
    wait_until(lambda: not any(alive(pid) for _, pid in log()), seconds=10)
    assert not finished(folder, "slow")
    # Without UNTIL, slow is not slow.
    assert run_cases(TOY, cases("good", "slow", "better"), BUDGET, folder) == {}
    assert Counter(names(log)) == {"good": 1, "better": 1, "slow": 2}


def test_ctrl_c_stops_and_says_how_to_go_on(tmp_path, log):
    folder = tmp_path / "out"
    process = begin(folder, UNTIL=str(tmp_path / "never"))
    wait_until(lambda: "slow" in names(log))
    # A terminal sends it to all the processes of a command.
    os.killpg(process.pid, signal.SIGINT)
    output, _ = process.communicate(timeout=60)
    assert process.returncode == 130, output
    assert "the same command goes on from here" in output
    assert "Traceback" not in output
    assert not any(alive(pid) for _, pid in log())


def test_a_second_ctrl_c_stops_at_once_what_does_not_listen(tmp_path, log):
    folder = tmp_path / "out"
    process = begin(folder, "figure-4")
    wait_until(lambda: "deaf" in names(log) and finished(folder, "good"))
    os.killpg(process.pid, signal.SIGINT)
    time.sleep(1)
    assert process.poll() is None
    os.killpg(process.pid, signal.SIGINT)
    output, _ = process.communicate(timeout=10)
    assert process.returncode == 130, output
    assert "Traceback" not in output
    assert not any(alive(pid) for _, pid in log())
