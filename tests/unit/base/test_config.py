from typing import Annotated, Literal

import pydantic
import pytest

from pyasr.base.config import Options, line_of, read_toml, validate
from pyasr.base.errors import ConfigError


class Tri(Options):
    num_leaves: int = 500
    num_gauss: int = 4000


class An4(Options):
    kind: Literal["an4"] = "an4"
    fold: int | None = None


class Demo(Options):
    kind: Literal["demo"] = "demo"
    speakers: int = 3


class Recipe(Options):
    seed: int = 1
    tri: Tri = Tri()
    corpus: Annotated[An4 | Demo, pydantic.Field(discriminator="kind")] = Demo()


@pytest.mark.parametrize(
    "values, message",
    [
        ({"sed": 1}, "here: unknown key 'sed'; did you mean 'seed'?"),
        ({"tri": {"num_leafs": 3}}, "here: unknown key 'tri.num_leafs'; did you mean 'tri.num_leaves'?"),
        ({"tri": {"xyz": 3}}, "here: unknown key 'tri.xyz'; valid here: num_gauss, num_leaves"),
        ({"corpus": {"kind": "an4", "fould": 3}}, "fould'; did you mean 'corpus.fold'?"),
        ({"tri": {"num_leaves": "many"}}, "here: tri.num_leaves: Input should be a valid integer.*got 'many'"),
        ({"tri": {"num_leaves": "500"}}, "here: tri.num_leaves: Input should be a valid integer.*got '500'"),
        ({"corpus": {"kind": "an4", "fold": 0.5}}, "here: corpus.fold: Input should be a valid integer"),
        ({"corpus": {"kind": "an5"}}, "here: corpus: .*'an4', 'demo'"),
    ],
)
def test_mistakes_name_the_key_and_the_nearest_valid_name(values, message):
    with pytest.raises(ConfigError, match=message):
        validate(Recipe, values, "here")


def test_valid_values_pass():
    recipe = validate(Recipe, {"tri": {"num_leaves": 7}, "corpus": {"kind": "an4", "fold": 2}}, "here")
    assert recipe.tri == Tri(num_leaves=7) and recipe.corpus == An4(fold=2)


def test_toml_errors_name_the_line(tmp_path):
    path = tmp_path / "x.toml"
    path.write_text("a = 1\nb = \n")
    with pytest.raises(ConfigError, match=r"x\.toml: not valid TOML: .*line 2"):
        read_toml(path)
    with pytest.raises(ConfigError, match=r"y\.toml: no such file"):
        read_toml(tmp_path / "y.toml")


def test_lines_of_keys(tmp_path):
    path = tmp_path / "x.toml"
    path.write_text('seed = 1\n\n[tri]\nnum_leaves = 2\n[corpus]\n"kind" = "an4"\ngmm.mono.beam = 3\n')
    keys = [("seed",), ("tri",), ("tri", "num_leaves"), ("tri", "absent"), ("corpus", "kind"), ("absent",)]
    assert [line_of(path, key) for key in keys] == [1, 3, 4, 3, 6, None]
    assert line_of(path, ("corpus", "gmm", "mono", "beam")) == 7
