"""Settings: parts read from source, files and command lines, errors, help, and fuzzing.

Most tests read a small package of dataclasses, written to a temporary folder, with a field of every supported type; the
others read the real package.
"""

import importlib
import io
import math
import re
import subprocess
import sys
import textwrap
import time
import tomllib
from contextlib import redirect_stdout
from dataclasses import MISSING
from pathlib import Path

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from twosided.core.names import kebab
from twosided.settings import (
    Part,
    Settings,
    SettingsError,
    build,
    choices,
    describe,
    dump,
    load,
    parse,
    read,
)
from twosided.settings.source import package

SHOP = {
    "units": '''
        """Words of the shop."""

        from typing import Literal

        from jaxtyping import Array, Float

        Scalar = float | Float[Array, ""]
        Side = Literal["buy", "sell"]
        STEPS = 4 * 1638
    ''',
    "flow": '''
        """Order flows."""

        import abc
        from dataclasses import dataclass, field
        from typing import ClassVar

        from . import units
        from .units import STEPS, Scalar


        class OrderFlow(abc.ABC):
            """Who wants to trade."""

            @abc.abstractmethod
            def draw(self):
                """Orders."""


        class _Investors(OrderFlow):
            def draw(self):
                return 1


        @dataclass(frozen=True)
        class UnitInvestors(_Investors):
            """Investors with unit orders. They come one by one.

            More about them.
            """

            count: int = field(default=20)
            """Number of investors."""


        @dataclass(frozen=True)
        class SizedInvestors(UnitInvestors):
            """Investors with orders of any size (Kyle et al. 1985)."""

            mean_size: Scalar = 1.0
            """Mean size of an order, units."""
            years: Scalar = 1 / STEPS
            """A step, years."""
            side: units.Side | None = None
            """The side that they trade, or both."""
            seen: ClassVar[int] = 0
            orders: int = field(init=False, default=0)

            def __post_init__(self):
                if self.mean_size <= 0:
                    raise ValueError(f"mean_size must be positive, but got {self.mean_size}")


        @dataclass(frozen=True)
        class RecordedInvestors(_Investors):
            """Needs an object that settings cannot hold."""

            orders: object
    ''',
    "makers": '''
        """Makers."""

        from dataclasses import dataclass


        class Policy:
            """Decides."""


        @dataclass(frozen=True)
        class Random(Policy):
            """Draws uniformly."""

            low: float = -1
            """Smallest epsilon."""
            high: float = 1
            """Largest epsilon."""
            both: bool = False
            """One draw for both sides."""

            def __post_init__(self):
                if self.low > self.high:
                    raise ValueError(f"high must be at least low ({self.low}), but got {self.high}")


        @dataclass(frozen=True)
        class Mixture(Policy):
            """Either of two policies."""

            first: Policy
            """One."""
            second: Policy | None = None
            """Other."""


        class Trained(Policy):
            """Made from a network."""

            def __init__(self, network):
                self.network = network


        @dataclass(frozen=True)
        class Shy(Policy):
            """Holds a policy that settings cannot make."""

            inner: Trained
    ''',
    "runs": '''
        """Commands."""

        from dataclasses import dataclass, field
        from pathlib import Path
        from typing import Literal

        from shop.flow import OrderFlow, SizedInvestors, UnitInvestors
        from shop.makers import Policy, Random


        @dataclass(frozen=True)
        class Market:
            """The rules of trade."""

            flow: OrderFlow = UnitInvestors()
            """Who wants to trade."""
            tick: float = 1e-4
            """Smallest step of prices, a fraction of the mid."""


        @dataclass(frozen=True)
        class Train:
            """Train a maker."""

            files: tuple[Path, ...] = ()
            """Files to read."""
            market: Market = field(default_factory=lambda: Market(SizedInvestors(mean_size=2.0)))
            """The market."""
            makers: tuple[Policy, ...] = (Random(low=-0.5),)
            """Who else quotes."""
            hidden: tuple[int, ...] = (64, 64)
            """Sizes of layers."""
            band: tuple[float, float] = (-1, 1)
            """Where quotes may lie."""
            rate: float | Literal["auto"] = "auto"
            """Step size, or auto to have it found."""
            limit: float | None = None
            """Largest position, units; none for no limit."""
            out: Path | None = None
            """Folder for results."""
            name: str = "a run"
            """What to call it."""
            seed: int = 0
            """Decides everything random."""
            json: bool = False
            """Print JSON."""

        @dataclass(frozen=True)
        class Show:
            """Show a run."""

            run: Path
            """The run's folder."""
            policy: Policy
            """Beside which it is shown."""
    ''',
}
TRAIN, SHOW = "shop.runs:Train", "shop.runs:Show"
BOOK = "twosided.dealer.reference_book:ReferenceBook"


@pytest.fixture(scope="module", autouse=True)
def shop(tmp_path_factory):
    folder = tmp_path_factory.mktemp("packages")
    (folder / "shop").mkdir()
    (folder / "shop" / "__init__.py").touch()
    for name, text in SHOP.items():
        (folder / "shop" / f"{name}.py").write_text(textwrap.dedent(text))
    sys.path.insert(0, str(folder))
    importlib.invalidate_caches()
    yield folder
    sys.path.remove(str(folder))
    for name in [name for name in sys.modules if name.partition(".")[0] == "shop"]:
        del sys.modules[name]
    package.cache_clear()


def words(line: str, root: str = TRAIN, **how) -> Settings:
    return parse(root, line.split(), prog="shop", **how)


def refusal(line: str, root: str = TRAIN, **how) -> str:
    with pytest.raises(SettingsError) as refused:
        build(words(line, root, **how))
    return check_one_sentence(refused.value)


def check_one_sentence(error: SettingsError) -> str:
    assert str(error).isprintable()
    assert 10 < len(str(error)) < 400
    return str(error)


def help_text(line: str, width: int = 80, root: str = TRAIN, **how) -> str:
    printed = io.StringIO()
    with pytest.MonkeyPatch.context() as patch, redirect_stdout(printed), pytest.raises(SystemExit) as end:
        patch.setenv("COLUMNS", str(width))
        words(f"{line} --help", root, **how)
    assert end.value.code == 0
    return printed.getvalue()


def settings_file(folder: Path, text: str) -> Path:
    path = folder / "run.toml"
    path.write_text(text)
    return path


# --- parts read from source --------------------------------------------------------------------------------


def test_part_is_read_from_its_source():
    flow = describe("shop.flow:SizedInvestors")
    assert (flow.kind, flow.summary) == (
        "sized-investors",
        "Investors with orders of any size (Kyle et al. 1985).",
    )
    assert [(field.name, field.type, field.default, field.meaning) for field in flow.fields] == [
        ("count", (int,), 20, "Number of investors."),
        ("mean_size", (float,), 1.0, "Mean size of an order, units."),
        ("years", (float,), 1 / 6552, "A step, years."),
        ("side", ("buy", "sell", None), None, "The side that they trade, or both."),
    ]


def test_choices_are_concrete_public_and_can_be_made_from_settings():
    assert [part.kind for part in choices("shop.flow:OrderFlow")] == ["unit-investors", "sized-investors"]
    assert choices("shop.flow:OrderFlow")[0].summary == "Investors with unit orders."
    # A base class without abstract methods is a choice too; Trained and Shy need a network.
    assert [part.kind for part in choices("shop.makers:Policy")] == ["policy", "random", "mixture"]


@pytest.mark.parametrize(
    ("field", "what"),
    [
        ("x: object = None", "the type object"),
        ("x: float = max(1, 2)", r"the default max\(1, 2\)"),
        ("x: float = float('inf')", "the default float"),
        ("kind: str = 'a'", "this name"),
    ],
)
def test_unsupported_field_raises_with_its_name(shop, monkeypatch, field, what):
    name = f"odd{abs(hash(field))}"
    (shop / name).mkdir()
    (shop / name / "__init__.py").write_text(f"class Odd:\n    {field}\n")
    with pytest.raises(TypeError, match=rf"{name}\.Odd\.{field.split(':')[0]}: settings cannot hold {what}"):
        _ = describe(f"{name}:Odd").fields


@pytest.mark.parametrize(
    ("name", "kind"),
    [
        ("GeometricBrownian", "geometric-brownian"),
        ("PPO", "ppo"),
        ("TotalPnL", "total-pnl"),
        ("FastPPO", "fast-ppo"),
        ("PnLReward", "pnl-reward"),
        ("Garch11", "garch11"),
        ("mean_size", "mean-size"),
    ],
)
def test_kebab_case_of_names(name, kind):
    assert kebab(name) == kind == kebab(kind)


def reachable(part: Part) -> list[Part]:
    """Return the part and all parts that can be chosen below it."""
    found = [part]
    for part in found:  # grows while it is iterated
        found += [choice for field in part.fields for choice in field.choices() if choice not in found]
    return found


REAL = reachable(describe("twosided.runs.settings:TrainSettings"))


@pytest.mark.parametrize("part", REAL, ids=[part.kind for part in REAL])
def test_real_parts_have_a_summary_and_document_every_parameter(part):
    assert part.summary.endswith(".")
    assert [field.name for field in part.fields if not field.meaning] == []
    assert len({kind.kind for field in part.fields for kind in field.choices()}) == len(
        {kind for field in part.fields for kind in field.choices()}
    )


@pytest.mark.parametrize("part", REAL, ids=[part.kind for part in REAL])
def test_defaults_read_from_source_match_the_constructor(part):
    if any(field.default is MISSING for field in part.fields):
        pytest.skip("has parameters without defaults")
    ours = build(read(f"{part.module.name}:{part.name}", {}))
    assert ours == getattr(importlib.import_module(part.module.name), part.name)()


# --- values, layers, objects -------------------------------------------------------------------------------


def test_defaults_are_complete():
    assert words("").values == {
        "files": [],
        "market": {
            "kind": "market",
            "flow": {
                "kind": "sized-investors",
                "count": 20,
                "mean_size": 2.0,
                "years": 1 / 6552,
                "side": None,
            },
            "tick": 1e-4,
        },
        "makers": [{"kind": "random", "low": -0.5, "high": 1.0, "both": False}],
        "hidden": [64, 64],
        "band": [-1.0, 1.0],
        "rate": "auto",
        "limit": None,
        "out": None,
        "name": "a run",
        "seed": 0,
        "json": False,
    }


def test_built_objects_match_the_constructors():
    made = build(
        words(
            "--hidden 8,4 --out there --maker random:high=0.5 --maker mixture:first=random a b",
            positional=["files"],
        )
    )
    flow, makers, runs = (importlib.import_module(f"shop.{name}") for name in ("flow", "makers", "runs"))
    assert made == runs.Train(
        files=(Path("a"), Path("b")),
        market=runs.Market(flow=flow.SizedInvestors(mean_size=2.0)),
        makers=(makers.Random(high=0.5), makers.Mixture(first=makers.Random())),
        hidden=(8, 4),
        out=Path("there"),
    )


@pytest.mark.parametrize(
    ("line", "path", "value"),
    [
        ("--seed 3", "seed", 3),
        ("--seed=3", "seed", 3),
        ("--seed 1e6", "seed", 1_000_000),
        ("--seed 1 --seed 2", "seed", 2),
        ("--json", "json", True),
        ("--json false", "json", False),
        ("--json --no-json", "json", False),
        ("--rate 3e-4", "rate", 3e-4),
        ("--rate auto", "rate", "auto"),
        ("--limit 5", "limit", 5.0),
        ("--limit none", "limit", None),
        ("--name= --limit -1e-4", "limit", -1e-4),
        ("--hidden 1,2,3", "hidden", [1, 2, 3]),
        ("--hidden=", "hidden", []),
        ("--band -0.5,.5", "band", [-0.5, 0.5]),
        ("--market.tick 1", "market.tick", 1.0),
        ("--market.flow.mean-size 3", "market.flow.mean_size", 3.0),
        ("--market.flow.mean_size=3", "market.flow.mean_size", 3.0),
        ("--flow.mean-size 3", "market.flow.mean_size", 3.0),
        ("--flow unit-investors", "market.flow", {"kind": "unit-investors", "count": 20}),
        ("--flow UnitInvestors", "market.flow", {"kind": "unit-investors", "count": 20}),
        ("--market.flow.count 9 --market.flow unit-investors", "market.flow.count", 9),
        ("--market.flow unit_investors:count=9", "market.flow.count", 9),
        ("--makers none", "makers", []),
        ("--maker.low 0", "makers.0.low", 0.0),
        ("--maker random", "makers.0.low", -1.0),  # a new part; --maker.low would change the present one
        ("--maker random --maker.low 0 --maker random", "makers.0.low", 0.0),
        ("--maker random --maker random --maker.low 0", "makers.1.low", 0.0),
        ("--maker random:low=-0.5,both=yes", "makers.0.both", True),
        ("--maker random --maker.both", "makers.0.both", True),
        ("--maker random:both=yes --maker.no-both", "makers.0.both", False),
        ("--maker mixture --maker.first random:low=0", "makers.0.first.low", 0.0),
        ("--maker mixture --maker.first random --maker.first.low 0", "makers.0.first.low", 0.0),
        ("--maker mixture:first=random --maker.second none", "makers.0.second", None),
    ],
)
def test_command_line_sets_values(line, path, value):
    found = words(line, aliases={"flow": "market.flow"}).values
    for step in path.split("."):
        found = found[int(step) if step.isdigit() else step]
    assert found == value
    assert type(found) is type(value)


def test_same_kind_keeps_parameters_and_another_kind_resets_them():
    assert words("--market.flow sized-investors").values == words("").values
    assert words("--market.flow sized-investors:count=5").values["market"]["flow"]["mean_size"] == 2.0
    assert "mean_size" not in words("--market.flow unit-investors").values["market"]["flow"]


def test_options_override_files_and_later_files_earlier_ones(tmp_path):
    first = settings_file(
        tmp_path,
        """
        seed = 1
        limit = 1
        [market]
        tick = 0.5
        [market.flow]
        kind = "unit-investors"
        count = 7
        [[makers]]
        kind = "random"
        low = 0.0
        [[makers]]
        kind = "mixture"
        first = "random:low=0.5"
        """,
    )
    second = tmp_path / "second.toml"
    second.write_text("limit = 'none'\nmarket.flow.count = 8\n")
    found = words(f"--settings {first} --settings={second} --seed 2 --market.tick 0.25").values
    assert (found["seed"], found["limit"], found["market"]["tick"]) == (2, None, 0.25)
    assert found["market"]["flow"] == {"kind": "unit-investors", "count": 8}
    assert [maker["kind"] for maker in found["makers"]] == ["random", "mixture"]
    assert found["makers"][1]["first"]["low"] == 0.5
    assert words(f"--settings {first} --maker random").values["makers"] == [
        {"kind": "random", "low": -1.0, "high": 1.0, "both": False}
    ]


def test_part_is_read_from_its_own_file(tmp_path):
    path = settings_file(tmp_path, 'kind = "sized-investors"\nmean_size = 4\n')
    assert words(f"--flow {path} --flow.count 3", aliases={"flow": "market.flow"}).values["market"][
        "flow"
    ] == {
        **words("").values["market"]["flow"],
        "mean_size": 4.0,
        "count": 3,
    }
    path.write_text("[flow]\ncount = 3\nmean_size = 4\n")  # the same, under the parameter's name
    assert words(f"--market.flow {path}").values["market"]["flow"]["mean_size"] == 4.0
    # Only the command line may name files: a file that names itself would recurse without end.
    path.write_text(f'kind = "{path}"\n')
    assert "takes one of unit-investors, sized-investors, but got" in refusal(f"--market.flow {path}")


def test_positional_arguments_are_read():
    assert words("runs/1 --policy random", SHOW, positional=["run"]).values["run"] == "runs/1"
    assert words("--seed 1 a -- --b -1", positional=["files"]).values["files"] == ["a", "--b", "-1"]
    assert refusal("--policy random", SHOW, positional=["run"]) == "RUN is missing; it takes a path"
    assert refusal("a b", SHOW, positional=["run"]).startswith("unexpected argument 'b'")
    assert refusal("slow", positional=["rate"]) == "RATE takes auto or a finite number, but got 'slow'"


def test_origins_of_values_are_recorded(tmp_path):
    path = settings_file(tmp_path, "seed = 1\n[market.flow]\ncount = 2\n")
    origins = words(f"--settings {path} --market.tick 1").origins
    assert origins[("seed",)] == f"{path}: seed"
    assert origins[("market", "flow", "count")] == f"{path}: market.flow.count"
    assert origins[("market", "tick")] == "--market.tick"
    assert ("limit",) not in origins


@pytest.mark.parametrize("meanings", [True, False])
@pytest.mark.parametrize(
    "line",
    [
        "",
        "--limit 0.1 --out a/b --rate 1e-5 --hidden= --makers none",
        "--maker mixture --maker.first random:low=-0.1 --maker mixture:second=random --maker.first policy",
        '--name "σ\\",=#[é]" --market.flow unit-investors --band 1e-300,3e38 --seed -9223372036854775807',
    ],
)
def test_dumped_settings_are_read_back_unchanged(line, meanings):
    ours = words(line)
    text = dump(ours, meanings)
    assert read(TRAIN, tomllib.loads(text)).values == ours.values
    assert ("# Largest position, units; none for no limit.\nlimit = " in text) == meanings


# --- errors ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("line", "sentence"),
    [
        ("--sed 1", "unknown option --sed; did you mean --seed?"),
        ("-seed 1", "unknown option -seed; did you mean --seed?"),
        ("--hlep", "unknown option --hlep; did you mean --help?"),
        (
            "--market.flow.meansize 2",
            "unknown option --market.flow.meansize; did you mean --market.flow.mean-size?",
        ),
        ("--mean-size 2", "unknown option --mean-size; did you mean --market.flow.mean-size?"),
        ("--markt.flow.count 2", "unknown option --markt.flow.count; did you mean --market.flow.count?"),
        ("--qqqq", "unknown option --qqqq"),
        ("--no-seed", "unknown option --no-seed; did you mean --seed?"),
        ("--seed", "--seed takes a whole number, but nothing follows it"),
        ("--seed --json", "--seed takes a whole number, but nothing follows it"),
        ("--seed 1.5", "--seed takes a whole number, but got '1.5'"),
        ("--seed 9223372036854775808", "--seed takes a whole number, but got '9223372036854775808'"),
        ("--json maybe", "unexpected argument 'maybe'; parameters are given as --name value"),
        ("--json=maybe", "--json takes true or false, but got 'maybe'"),
        ("--limit nan", "--limit takes a finite number or none, but got 'nan'"),
        ("--limit -inf", "--limit takes a finite number or none, but got '-inf'"),
        ("--limit 1e39", "--limit takes a finite number or none, but got '1e39'"),
        ("--rate fast", "--rate takes auto or a finite number, but got 'fast'"),
        ("--hidden 1,x", "--hidden takes a list of whole numbers, but got '1,x'"),
        ("--band 1", "--band takes a list of 2 finite numbers, but got '1'"),
        ("--out=", "--out takes a path or none, but got ''"),
        (
            "--market.flow.side bye",
            "--market.flow.side takes one of buy, sell or none, but got 'bye'; did you mean buy?",
        ),
        (
            "--market.flow unit-investor",
            "--market.flow takes one of unit-investors, sized-investors, but got 'unit-investor'; "
            "did you mean unit-investors?",
        ),
        (
            "--market.flow unit-investors --market.flow.mean-size 1",
            "--market.flow: unit-investors has no parameter 'mean_size', but sized-investors has",
        ),
        ("--maker random:lo=1", "--maker: random has no parameter 'lo'; did you mean low?"),
        ("--maker random:low", "--maker takes KIND:parameter=value,..., but got 'random:low'"),
        ("--maker random:low=x", "--maker.low takes a finite number, but got 'x'"),
        ("--maker.low 1 --maker random", "--maker.low comes before the --maker that it changes"),
        ("--maker mixture", "--maker.first is missing; it takes one of policy, random, mixture"),
        ("--maker mixture --maker.first.low 1", "--maker.first needs a kind, one of policy, random, mixture"),
        ("--settings nowhere.toml", "cannot read nowhere.toml: No such file or directory"),
        # Errors of constructors.
        ("--market.flow.mean-size 0", "--market.flow.mean-size: mean_size must be positive, but got 0.0"),
        ("--maker random:low=2", "--maker: high must be at least low (2.0), but got 1.0"),
    ],
)
def test_invalid_command_line_gives_one_sentence(line, sentence):
    assert refusal(line) == sentence


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("sed = 1", "{}: train has no parameter 'sed'; did you mean seed?"),
        ("seed = '1'", "{}: seed takes a whole number, but got '1'"),
        ("seed = 1.0", "{}: seed takes a whole number, but got 1.0"),
        ("seed = true", "{}: seed takes a whole number, but got True"),
        ("seed = 0x" + "f" * 5000, "{}: seed takes a whole number, but got a number beyond 64 bits"),
        ("json = 1", "{}: json takes true or false, but got 1"),
        ("limit = nan", "{}: limit takes a finite number or none, but got nan"),
        ("limit = inf", "{}: limit takes a finite number or none, but got inf"),
        ("limit = 2024-01-01", "{}: limit takes a finite number or none, but got 2024-01-01"),
        ("band = [1, 2, 3]", "{}: band takes a list of 2 finite numbers, but got a list"),
        ("hidden = 3", "{}: hidden takes a list of whole numbers, but got 3"),
        ("hidden = [[3]]", "{}: hidden takes a list of whole numbers, but got a list"),
        ('name = "a\\nb"', "{}: name takes a text, but got 'a\\nb'"),
        ("market = 3", "{}: market takes market, but got 3"),
        ("market.flow.kind = 3", "{}: market.flow takes one of unit-investors, sized-investors, but got 3"),
        (
            "market.flow.meansize = 3",
            "{}: market.flow: sized-investors has no parameter 'meansize'; did you mean mean_size?",
        ),
        ("market.flow.mean_size = -1", "{}: market.flow.mean_size: mean_size must be positive, but got -1.0"),
        ("[[makers]]\nlow = 1", "{}: makers[0] needs a kind, one of policy, random, mixture or none"),
        ("[[makers]]\nkind = 'random'\nlow = 'x'", "{}: makers[0].low takes a finite number, but got 'x'"),
        (
            "[[makers]]\nkind = 'random'\nlow = 2",
            "{}: makers[0]: high must be at least low (2.0), but got 1.0",
        ),
        ("\nseed = x\n", "{} is not TOML: Invalid value (at line 2, column 8)"),
        ("a = 1\nb", "{} is not TOML: Expected '=' after a key in a key/value pair (at end of document)"),
        ("\n\nname = 'x", '{} is not TOML: Expected "\'" (at end of document)'),
        ("seed = " + "9" * 5000, "{} is not TOML: Exceeds the limit"),
        ("seed = " + "[" * 100_000, "{} is nested too deeply"),
        ("#" * 2**20 + "\n", "{} is larger than settings can be, 1048576 bytes"),
    ],
)
def test_invalid_file_gives_one_sentence_with_its_path(tmp_path, text, sentence):
    path = settings_file(tmp_path, text)
    found = refusal(f"--settings {path}")
    assert found == sentence.format(path) or (
        found.startswith(sentence.format(path)) and "Exceeds" in sentence
    )


def test_files_that_are_not_utf8_text_raise(tmp_path):
    path = tmp_path / "run.toml"
    path.write_bytes(b"seed = 1\nname = '\xff'\n")
    assert refusal(f"--settings {path}") == f"{path} is not UTF-8 text (at line 2)"
    assert refusal(f"--settings {tmp_path}") == f"cannot read {tmp_path}: Is a directory"
    path.write_bytes(b"\xef\xbb\xbfseed = 5\r\n")  # byte order mark and line ends of Windows editors
    assert words(f"--settings {path}").values["seed"] == 5


def test_option_for_one_of_several_parts_raises(tmp_path):
    path = settings_file(tmp_path, "makers = ['random', 'random:low=0']")
    assert refusal(f"--settings {path} --maker.low 1").startswith(
        "--maker: there are 2 parts, not one to change"
    )


# --- help --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("width", [60, 80, 200])
def test_help_shows_options_of_the_chosen_parts_with_type_meaning_and_value(width):
    text = help_text("--maker mixture --seed 4", width, positional=["files"], aliases={"flow": "market.flow"})
    flat = " ".join(text.split())
    assert max(map(len, text.splitlines())) <= width
    assert "usage: shop [OPTIONS] [FILES...] Train a maker." in flat
    assert "--seed INTEGER Decides everything random. [4]" in flat
    assert "--market.flow.mean-size NUMBER Mean size of an order, units. [2]" in flat
    assert "--market.flow.side buy|sell|none The side" in flat
    assert "--band NUMBER,NUMBER Where quotes may lie. [-1,1]" in flat
    assert "--hidden INTEGER,... Sizes of layers. [64,64]" in flat
    assert "--json, --no-json Print JSON. [no]" in flat
    assert "--flow is short for --market.flow." in flat
    assert "* sized-investors Investors with orders" in flat
    assert "- unit-investors Investors with unit orders. " in flat
    assert "- policy Decides. - random Draws uniformly." in flat
    assert "--maker.first KIND One. Kinds: as for --maker." in flat
    assert "--maker.low" not in flat
    assert "--maker.first.low" in help_text("--maker mixture:first=random", width)


def test_help_does_not_require_missing_arguments():
    text = " ".join(help_text("", root=SHOW, positional=["run"]).split())
    assert "usage: shop [OPTIONS] RUN" in text
    assert "RUN The run's folder. [required]" in text
    assert "--policy KIND" in text


def run_python(code: str) -> float:
    start = time.perf_counter()
    subprocess.run([sys.executable, "-c", code], check=True, capture_output=True)
    return time.perf_counter() - start


def test_help_imports_no_heavy_library_and_is_faster_than_importing_jax():
    code = f"""
import sys
from twosided.settings import parse
try:
    parse({TRAIN!r} if "shop" in sys.argv else "twosided.dealer.market:DealerMarket", ["--help"], prog="x")
except SystemExit:
    heavy = {{"jax", "equinox", "numpy", "optax", "polars", "twosided.core.transition", "twosided.dealer.market"}}
    assert not heavy & set(sys.modules)
"""
    assert min(run_python(code) for _ in range(3)) < min(run_python("import jax") for _ in range(3))


def test_reading_settings_does_not_import_parts(shop):
    code = f"""
import sys
sys.path.insert(0, {str(shop)!r})
from twosided.settings import describe, parse, dump
dump(parse({TRAIN!r}, ["--maker", "random"], prog="x"))
assert not [name for name in sys.modules if name.partition(".")[0] in ("shop", "rich", "jax")]
"""
    run_python(code)


# --- fuzzing -----------------------------------------------------------------------------------------------


def accepted(read_it) -> Settings | None:
    """Return settings, which must be valid and buildable, or None if they are refused in one sentence."""
    try:
        ours = read_it()
        build(ours)
    except SettingsError as error:
        check_one_sentence(error)
        return None
    assert all(math.isfinite(number) for number in numbers(ours.values))
    assert read(f"{ours.root.module.name}:{ours.root.name}", tomllib.loads(dump(ours))).values == ours.values
    return ours


def numbers(values):
    match values:
        case dict():
            return [number for value in values.values() for number in numbers(value)]
        case list():
            return [number for value in values for number in numbers(value)]
        case bool() | str() | None:
            return []
    return [values]


ANYTHING = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text() | st.just("none") | st.just("random"),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.text() | st.just("kind"), inner, max_size=3)
    ),
    max_leaves=6,
)
FEW = settings(
    max_examples=1000, deadline=20_000, suppress_health_check=[HealthCheck.function_scoped_fixture]
)


@FEW
@given(data=st.data(), which=st.sampled_from([TRAIN, BOOK]))
def test_mutated_files_are_valid_or_refused(tmp_path, data, which):
    text = bytearray(dump(read(which, {})).encode())
    for _ in range(data.draw(st.integers(1, 4))):
        start = data.draw(st.integers(0, len(text)))
        end = min(len(text), start + data.draw(st.integers(0, 8)))
        text[start:end] = data.draw(
            st.binary(max_size=6)
            | st.sampled_from([b"nan", b"1e999", b"-", b"[[", b"]", b"'", b"0x", b".", b"9"])
        )
    path = tmp_path / "run.toml"
    path.write_bytes(text)
    accepted(lambda: read(which, load(path), str(path)))


@FEW
@given(data=st.data(), which=st.sampled_from([TRAIN, BOOK]))
def test_mutated_structures_are_valid_or_refused(data, which):
    tree = read(which, {}).values
    for _ in range(data.draw(st.integers(1, 3))):
        node = tree
        while True:
            keys = list(node) if isinstance(node, dict) else list(range(len(node)))
            if not keys:
                break
            key = data.draw(st.sampled_from(keys))
            if isinstance(node[key], dict | list) and data.draw(st.booleans()):
                node = node[key]
                continue
            match data.draw(st.sampled_from(["set", "delete", "rename"])):
                case "set":
                    node[key] = data.draw(ANYTHING)
                case "delete":
                    del node[key]
                case "rename" if isinstance(node, dict):
                    node[data.draw(st.text() | st.sampled_from(["kind", "low", "seed"]))] = node.pop(key)
            break
    accepted(lambda: read(which, tree))


LINE_WORDS = re.findall(
    r"\S+",
    """--seed 1 -1 1e5 --json --no-json none --maker --maker.low random mixture:first=random , = :a=b -- -
    --limit nan --market.flow unit-investors --market.flow.mean-size --hidden 1,2 --band 0,1""",
)


@settings(max_examples=300, deadline=20_000)
@given(
    st.lists(
        st.sampled_from(LINE_WORDS)
        | st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"]), max_size=5),
        max_size=8,
    )
)
@example(["--maker", "mixture:first=mixture:first=random"])
@example(["-\x1f"])
def test_random_command_lines_are_valid_or_refused(line):
    if "--help" not in line and "-h" not in line:
        accepted(lambda: parse(TRAIN, line, prog="shop", positional=["files"]))


# --- page of the documentation -----------------------------------------------------------------------------

PAGE = (Path(__file__).parents[2] / "docs" / "guides" / "settings.md").read_text()


@pytest.mark.parametrize("line", re.findall(r"^\$ twosided train (.*)", PAGE, flags=re.M))
def test_command_lines_of_the_page_are_valid(line):
    if line.endswith("--help"):
        assert "--competitor" in help_text(
            line.removesuffix("--help"), root="twosided.runs.settings:TrainSettings"
        )
    else:
        build(words(line, "twosided.runs.settings:TrainSettings"))


def test_settings_file_of_the_page_is_valid():
    (text,) = re.findall(r"```toml\n(.*?)```", PAGE, flags=re.S)
    found = build(read("twosided.runs.settings:TrainSettings", tomllib.loads(text)))
    assert (found.seeds, found.market.price.volatility, found.competitors[0].epsilon_sell) == (5, 0.3, -0.5)


def test_python_of_the_page_runs():
    (code,) = re.findall(r"```python\n(.*?)```", PAGE, flags=re.S)
    exec(code, {})
