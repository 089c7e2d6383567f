"""Users' own classes on the command line: read from source, imported only if the user names their file."""

import json
import subprocess
import sys
import time
from pathlib import Path

import pytest
from support.command_line import call

import twosided as ts
from twosided.core import store
from twosided.settings import NO_FILES, SettingsError, build, dump, load, parse, read, user_files

pytestmark = pytest.mark.extended

TRAIN = "twosided.runs.settings:TrainSettings"
OWN = '''
"""A market and a policy of the user's own. Importing this file leaves a mark."""

from pathlib import Path

import twosided as ts
from twosided.core.numeric import Scalar
from twosided.core.policy import StatelessPolicy

Path("imported").touch()


class MyPrice(ts.Bachelier):
    """Price of my own."""

    jump: Scalar = 0.5
    """Size of a jump, in currency."""


class MyMarket(ts.DealerMarket):
    """Market of my own. It is a dealer market."""

    price: ts.Bachelier = MyPrice(jump=0.25)
    """Midprice process."""
    alpha: Scalar = 1.0
    """Weight of nothing, from 0 to 1."""

    def __check_init__(self):
        if not 0 <= self.alpha <= 1:
            raise ValueError(f"alpha must be from 0 to 1, but got {self.alpha}")


class MyQuoter(ts.PersistentQuoter):
    """Quoter of my own."""


class Unfinished(StatelessPolicy):
    """Policy without a rule."""


class Helper:
    """Class that has nothing to do with settings."""

    anything: object = None
'''
SMALL = "--learner.total-timesteps 64 --learner.num-envs 2 --learner.num-steps 16 --learner.hidden-sizes 4 "
SMALL += "--learner.num-minibatches 2 --learner.num-epochs 1 --horizon 8 --seeds 1 --chunks 1 "
SMALL += "--evaluation-steps 64 --no-exact"


@pytest.fixture
def own(tmp_path, monkeypatch):
    """A folder with a user's file, in which the test runs."""
    monkeypatch.chdir(tmp_path)
    path = Path("code") / "own.py"
    path.parent.mkdir()
    path.write_text(f"{OWN}\n# {tmp_path}\n")  # a file of the same content is executed once in a process
    return path


def words(line, root=TRAIN, **how):
    return parse(root, line.split(), prog="train", **how)


def refusal(line, **how):
    with pytest.raises(SettingsError) as refused:
        build(words(line, **how))
    assert str(refused.value).isprintable()
    return str(refused.value)


def imported():
    return Path("imported").exists()


def test_class_in_a_file_is_chosen_changed_and_built(own):
    settings = words(
        f"--market.alpha 0.5 --market {own}:MyMarket --competitor {own}:MyQuoter:epsilon-buy=-0.5"
    )
    assert not imported()
    assert settings.values["market"]["kind"] == "own.py:MyMarket"
    assert settings.values["market"]["price"]["kind"] == "own.py:MyPrice"
    train = build(settings)
    assert imported()
    assert type(train.market).__name__ == "MyMarket" and type(train.market.price).__name__ == "MyPrice"
    assert (train.market.alpha, train.market.price.jump, train.competitors[0].epsilon_buy) == (
        0.5,
        0.25,
        -0.5,
    )


def test_class_in_a_file_can_be_nested_in_a_part_of_the_package(own):
    settings = words(f"--market.price={own}:MyPrice:jump=2 --market.price.volatility 0.25")
    assert build(settings).market.price.jump == 2.0
    assert settings.values["market"]["price"]["volatility"] == 0.25


def test_help_shows_classes_of_a_file_without_importing_it(own, capsys):
    with pytest.raises(SystemExit):
        words(f"--market {own}:MyMarket --help")
    text = " ".join(capsys.readouterr().out.split())
    assert "* own.py:MyMarket Market of my own. - " not in text, "only the first sentence is shown"
    assert "* own.py:MyMarket Market of my own." in text
    assert "--market.alpha NUMBER Weight of nothing, from 0 to 1. [1]" in text
    assert "- own.py:MyQuoter Quoter of my own." in text
    assert "Unfinished" not in text
    assert not imported()


@pytest.mark.parametrize(
    ("line", "sentence"),
    [
        (
            "--market code/own.py:MyMarkt",
            "--market: own.py has no class MyMarkt that derives from a class of ",
        ),
        ("--market code/own.py:MyMarkt", "did you mean MyMarket?"),
        ("--market code/own.py:MyQuoter", "--market: MyQuoter in own.py does not derive from Market"),
        ("--market code/own.py:Helper", "--market: own.py has no class Helper that derives from a class of "),
        ("--competitor code/own.py:Unfinished", "--competitor: Unfinished in own.py does not define act"),
        ("--market code/own.py:MyMarket --market.alpa 1", "did you mean --market.alpha?"),
        (
            "--market code/own.py:MyMarket --market.alpha 2",
            "--market.alpha: alpha must be from 0 to 1, but got 2.0",
        ),
        ("--market nowhere.py:MyMarket", "--market: cannot read nowhere.py: No such file or directory"),
        ("--trust nowhere.py", "cannot read nowhere.py: No such file or directory"),
        ("--trust code", "--trust takes a Python file, but got 'code'"),
        ("--trust", "--trust takes a Python file, but nothing follows it"),
        ("--trust code/own.py --trust own.py", "code/own.py and own.py have the same file name"),
    ],
)
def test_unsuitable_class_gives_a_one_line_error(own, line, sentence):
    Path("own.py").write_text(OWN)
    assert sentence in refusal(line)


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("class X(:\n", "bad.py is not valid Python: "),
        (
            "import twosided as ts\nclass X(ts.DealerMarket):\n    field: object = None\n",
            "bad.py: bad.X.field: settings cannot hold the type object",
        ),
        (
            "import twosided as ts\nraise RuntimeError('no')\nclass X(ts.DealerMarket):\n    pass\n",
            "bad.py cannot be imported: RuntimeError: no",
        ),
    ],
)
def test_broken_file_gives_a_one_line_error(tmp_path, monkeypatch, text, sentence):
    monkeypatch.chdir(tmp_path)
    Path("bad.py").write_text(text)
    assert sentence in refusal("--market bad.py:X")


def test_file_that_is_not_text_raises(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Path("bad.py").write_bytes(b"\xff")
    assert refusal("--trust bad.py") == "bad.py is not UTF-8 text"


def test_settings_record_the_digest_of_a_file(own):
    settings = words(f"--market {own}:MyMarket")
    text = dump(settings)
    Path("run.toml").write_text(text)
    assert f'[python_files]\n"own.py" = "{user_files([own]).digests["own.py"]}"' in text
    assert "python_files" not in dump(words(f"--trust {own}")), "only files that are used are recorded"

    again = read(TRAIN, load("run.toml"), "run.toml", user_files([own]))
    assert again.values == settings.values and dump(again) == text

    own.write_text(OWN + "\n# changed\n")
    with pytest.raises(
        SettingsError, match=r"own.py has changed since run.toml was written: its SHA-256 digest was"
    ):
        read(TRAIN, load("run.toml"), "run.toml", user_files([own]))
    Path("run.toml").write_text(text.partition("[python_files]")[0])
    assert read(TRAIN, load("run.toml"), "run.toml", user_files([own])).values == settings.values


def test_maker_of_a_user_class_is_saved_under_the_name_of_its_file(own):
    policy = build(words(f"--competitor {own}:MyQuoter")).competitors[0]
    ts.save(policy, "maker.safetensors")
    with pytest.raises(ValueError, match="it needs the class own:MyQuoter; hand it to load"):
        ts.load("maker.safetensors")


def test_changed_file_is_imported_again(own):
    assert build(words(f"--market {own}:MyMarket")).market.price.jump == 0.25
    own.write_text(OWN.replace("jump=0.25", "jump=0.75"))
    assert build(words(f"--market {own}:MyMarket")).market.price.jump == 0.75


@pytest.mark.parametrize(
    "settings",
    [
        'market.kind = "own.py:MyMarket"',
        'market.kind = "code/own.py:MyMarket"',
        'market.price = "code/own.py:MyPrice:jump=1"',
        'competitors = ["code/own.py:MyQuoter"]',
    ],
)
def test_settings_file_cannot_import_a_user_file(own, settings):
    Path("run.toml").write_text(settings)
    needed = (
        "own.py is Python code, which is imported only if you name it on the command line: --trust own.py"
    )
    assert refusal("--settings run.toml").endswith(needed)
    assert not imported()
    build(words(f"--settings run.toml --trust {own}"))
    assert imported()


def test_part_file_cannot_import_a_user_file(own):
    Path("market.toml").write_text('kind = "code/own.py:MyMarket"')
    assert "--trust own.py" in refusal("--market market.toml")
    with pytest.raises(SettingsError, match=r"--trust own\.py"):
        read(TRAIN, {"market": "code/own.py:MyMarket"}, "settings", NO_FILES)
    assert not imported()


def test_opening_a_run_of_user_classes_executes_no_code_unless_the_file_is_named(own, capsys):
    run = Path("runs/mine")
    code, _, err = call(capsys, "train", "--market", f"{own}:MyMarket", *SMALL.split(), "--out", str(run))
    assert code == 0, err
    assert "--trust own.py" in (run / store.REPORT).read_text()
    assert 'kind = "own.py:MyMarket"' in (run / store.SETTINGS).read_text()

    # A separate process, because this one has imported the file.
    def fresh(*argv):
        Path("imported").unlink(missing_ok=True)
        done = subprocess.run(
            [sys.executable, "-m", "twosided", *argv], capture_output=True, text=True, check=False
        )
        return done.returncode, done.stdout, done.stderr

    for argv in (
        ("show", str(run)),
        ("compare", str(run)),
        ("evaluate", "--run", str(run)),
        ("train", "--resume", str(run)),
        ("train", "--settings", str(run / store.SETTINGS)),
    ):
        code, out, err = fresh(*argv)
        assert (code, out, err.count("\n"), imported()) == (2, "", 1, False), argv
        assert err.rstrip().endswith("imported only if you name it on the command line: --trust own.py")
    code, out, err = fresh("runs", "--json")
    assert code == 0, err
    assert not imported()
    assert [(row["market"], row["done"]) for row in json.loads(out)] == [("own.py:MyMarket", 1.0)]

    for argv in (
        ("show", str(run), "--json", "--trust", str(own)),
        ("evaluate", "--run", str(run), "--steps", "64", "--json", f"--trust={own}"),
        ("evaluate", "--run", str(run), "--market", f"{own}:MyMarket", "--steps", "64", "--json"),
        ("compare", str(run), "--steps", "64", "--json", "--trust", str(own)),
    ):
        code, out, err = call(capsys, *argv)
        assert code == 0, err
        assert any(row["case"] in ("seed 0", "mine") for row in json.loads(out)), argv

    own.write_text(own.read_text() + "\n# changed\n")
    code, _, err = call(capsys, "train", "--resume", str(run), "--trust", str(own))
    assert code == 2 and "own.py has changed since runs/mine/settings.toml was written" in err
    code, _, err = call(capsys, "train", "--market", f"{own}:MyMarket", *SMALL.split(), "--out", str(run))
    assert code == 2 and "holds a run with other settings" in err


def test_help_of_train_takes_less_time_than_importing_jax():
    def seconds(*command):
        started = time.perf_counter()
        subprocess.run([sys.executable, *command], check=True, capture_output=True)
        return time.perf_counter() - started

    times = [(seconds("-m", "twosided", "train", "--help"), seconds("-c", "import jax")) for _ in range(3)]
    ours, jax = (min(column) for column in zip(*times, strict=True))
    assert ours < jax
