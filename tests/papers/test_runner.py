"""Running cases: each runs once, whatever happens to its process."""

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
from twosided.papers.folder import is_finished, read_about, read_outcomes, run_case
from twosided.papers.runner import find_study, run_cases
from twosided.runs.run import StopFlag
from twosided.runs.settings import RunError

pytestmark = pytest.mark.extended

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


def test_finished_case_is_not_run_again(tmp_path, log):
    folder = tmp_path / "out"
    assert run_cases(TOY, cases("good"), BUDGET, folder) == {}
    assert run_cases(TOY, cases("good", "better"), BUDGET, folder) == {}
    assert run_cases(TOY, cases("good", "better"), BUDGET, folder, workers=2) == {}
    assert names(log) == ["good", "better"]


def test_outcomes_are_read_back_as_written(tmp_path):
    assert run_cases(TOY, cases("good", "better"), BUDGET, tmp_path / "out") == {}
    found = read_outcomes(tmp_path / "out", toy_study.STUDY.cases, BUDGET)
    assert list(found) == ["good", "better"]
    for case in cases("good", "better"):
        made = case.outcome(BUDGET, lambda text: None)
        assert found[case.name].records == made.records
        assert found.frame(case.name, "curve").equals(made.frames["curve"])
    about = read_about(tmp_path / "out", toy_study.STUDY.cases)
    data = {"bars": [], "columns": [], "format": "", "timezone": "UTC"}
    assert about["good"]["budget"] == {"quick": True, "seeds": 2, "seed": 0, **data}
    assert 0 < about["good"]["seconds"] < 60
    assert about["good"]["memory_mib"] > 10


def test_failed_case_is_reported_and_the_others_run(tmp_path):
    folder, events = tmp_path / "out", []
    failures = run_cases(TOY, cases("good", "broken", "better"), BUDGET, folder, on_event=events.append)
    assert failures.keys() == {"broken"}
    assert failures["broken"].startswith("ArithmeticError: the books <b>do not</b> balance (in full: ")
    assert "in fail" in (folder / "cases/broken/error.txt").read_text()
    assert is_finished(folder, "better")
    assert not is_finished(folder, "broken")
    over = [(event.case, event.kind, event.done, event.total) for event in events if event.done > 0]
    assert ("broken", "failed", 2, 3) in over
    assert over[-1] == ("better", "finished", 3, 3)
    assert [event.text for event in events if event.kind == "progress"] == [
        "good with 2 seeds",
        "better with 2 seeds",
    ]


def test_case_that_succeeds_later_leaves_no_error_file(tmp_path):
    def fails(budget, report):
        raise ValueError("not today")

    assert run_case(Case("moody", fails), BUDGET, tmp_path, print)[1].startswith("ValueError: not today")
    assert run_case(Case("moody", lambda budget, report: Outcome([])), BUDGET, tmp_path, print)[1] == ""
    assert {path.name for path in (tmp_path / "cases/moody").iterdir()} == {"about.json", "records.parquet"}


@pytest.mark.parametrize("name", ["records", "../curve", "a/b"])
def test_frame_name_that_leaves_the_folder_is_refused(tmp_path, name):
    curve = cases("good")[0].run(BUDGET, lambda text: None).frames["curve"]
    case = Case("stray", lambda budget, report: Outcome([], {name: curve}))
    assert "the name of a frame must be a plain file name" in run_case(case, BUDGET, tmp_path, print)[1]
    assert not is_finished(tmp_path, "stray")


def test_folder_holds_one_study_and_budget(tmp_path):
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
        ("no_such_module:STUDY", "there is no study at no_such_module:STUDY"),
        ("support.toy_study:TABLE", "there is no study at support.toy_study:TABLE"),
        ("support.toy_study:CLAIMS", "support.toy_study:CLAIMS must be a study, but is a tuple"),
        (":", "there is no study at :"),
    ],
)
def test_reference_to_no_study_is_refused(reference, sentence):
    with pytest.raises(RunError, match=sentence):
        find_study(reference)


@pytest.mark.parametrize("workers", [1, 2])
def test_stop_ends_the_running_case_and_starts_no_other(tmp_path, log, monkeypatch, workers):
    monkeypatch.setenv("UNTIL", str(tmp_path / "never"))
    stop = StopFlag()

    def on_event(event):
        stop.is_set = event.case == "slow" and event.kind == "progress"

    todo = cases("slow", "better") if workers == 1 else cases("slow", "good")
    assert run_cases(TOY, todo, BUDGET, tmp_path / "out", workers, stop, on_event) == {}
    assert not is_finished(tmp_path / "out", "slow")
    assert names(log).count("slow") == 1
    assert "better" not in names(log)


def test_process_that_dies_loses_only_its_case(tmp_path, log):
    todo = cases("good", "broken", "dying", "better")
    failures = run_cases(TOY, todo, BUDGET, tmp_path / "out", workers=2)
    assert failures.keys() == {"broken", "dying"}
    assert failures["dying"] == "its process ended with code 7"
    assert is_finished(tmp_path / "out", "good")
    assert is_finished(tmp_path / "out", "better")
    assert Counter(names(log)) == {"good": 1, "broken": 1, "dying": 1, "better": 1}
    assert os.getpid() not in {pid for _, pid in log()}


def wait_until(condition, seconds=60):
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.02)


def alive(pid):
    """Whether a process is running; a zombie is not."""
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


def test_kill_9_loses_only_the_running_cases_and_leaves_no_process(tmp_path, log):
    folder = tmp_path / "out"
    process = begin(folder, UNTIL=str(tmp_path / "never"))
    wait_until(lambda: is_finished(folder, "better") and "slow" in names(log))
    process.kill()
    process.communicate()
    wait_until(lambda: not any(alive(pid) for _, pid in log()), seconds=10)
    assert not is_finished(folder, "slow")
    # Without UNTIL, slow is not slow.
    assert run_cases(TOY, cases("good", "slow", "better"), BUDGET, folder) == {}
    assert Counter(names(log)) == {"good": 1, "better": 1, "slow": 2}


def test_ctrl_c_stops_and_reports_how_to_resume(tmp_path, log):
    folder = tmp_path / "out"
    process = begin(folder, UNTIL=str(tmp_path / "never"))
    wait_until(lambda: "slow" in names(log))
    # A terminal sends it to all the processes of a command.
    os.killpg(process.pid, signal.SIGINT)
    output, _ = process.communicate(timeout=60)
    assert process.returncode == 130, output
    assert "the same command resumes here" in output
    assert "Traceback" not in output
    assert not any(alive(pid) for _, pid in log())


def test_second_ctrl_c_stops_a_case_without_progress_at_once(tmp_path, log):
    folder = tmp_path / "out"
    process = begin(folder, "figure-4")
    wait_until(lambda: "deaf" in names(log) and is_finished(folder, "good"))
    os.killpg(process.pid, signal.SIGINT)
    time.sleep(1)
    assert process.poll() is None
    os.killpg(process.pid, signal.SIGINT)
    output, _ = process.communicate(timeout=10)
    assert process.returncode == 130, output
    assert "Traceback" not in output
    assert not any(alive(pid) for _, pid in log())
