import pytest

from pyasr.base.errors import ConfigError
from pyasr.corpora.options import An4Options
from pyasr.run.recipe import find_recipe, load_recipe, recipe_folders, recipe_name


def write(tmp_path, text):
    path = tmp_path / "mine.toml"
    path.write_text(text)
    return path


@pytest.mark.parametrize(
    "text, message",
    [
        ("seeed = 1\n", r"mine\.toml:1: unknown key 'seeed'; did you mean 'seed'\?"),
        (
            "seed = 1\n[gmm.tri.tree]\nmax_leafs = 600\n",
            r"mine\.toml:3: unknown key 'gmm\.tri\.tree\.max_leafs'; did you mean 'gmm\.tri\.tree\.max_leaves'\?",
        ),
        ("[corpus]\nkind = 'an4'\nfolds = 1\n", r"mine\.toml:3: unknown key 'corpus\.folds'; did.*'corpus\.fold'"),
        ("[gmm.tri]\nnum_gauss = '5000'\n", r"mine\.toml:2: gmm\.tri\.num_gauss: .*valid integer.*got '5000'"),
        ("[corpus]\nkind = 'an5'\n", r"mine\.toml:1: corpus: .*'an4'.*'demo'"),
        ("[gmm]\nmono = 3\n", r"mine\.toml:2: gmm\.mono: "),
        (
            "[targets]\nstacking = 'first'\n[train.supervised.augment]\nspeeds = [0.9, 1.1]\n",
            r"mine\.toml.*targets\.stacking = 'first'.*without other speeds",
        ),
        ("seed = -1\n", r"mine\.toml:1: seed: .*greater than or equal to 0"),
        ("seed = \n", r"mine\.toml: not valid TOML.*line 1"),
    ],
)
def test_a_mistake_names_key_file_line_and_the_nearest_name(tmp_path, text, message):
    with pytest.raises(ConfigError, match=message):
        load_recipe(write(tmp_path, text))


def test_all_mistakes_are_told_at_once(tmp_path):
    with pytest.raises(ConfigError) as error:
        load_recipe(write(tmp_path, "sede = 1\n[gmm.mon]\nx = 1\n"))
    assert ":1: unknown key 'sede'" in str(error.value) and ":2: unknown key 'gmm.mon'" in str(error.value)


def test_settings_take_the_place_of_what_is_written(tmp_path):
    path = write(tmp_path, "seed = 1\n[test]\nsnr_db = [20]\n")
    settings = ["seed=7", "gmm.tri.tree.max_leaves=600", "test.snr_db=[10, 5]", "corpus.kind=an4", "corpus.fold=2"]
    recipe = load_recipe(path, settings)
    assert (recipe.seed, recipe.gmm.tri.tree.max_leaves, recipe.test.snr_db) == (7, 600, (10, 5))
    assert recipe.corpus == An4Options(fold=2)


@pytest.mark.parametrize(
    "setting, message",
    [
        ("gmm.tri.tree.max_leaf=6", r"--set gmm\.tri\.tree\.max_leaf=6: unknown key .*did you mean 'gmm.*max_leaves'"),
        ("gmm.tri.num_gauss=many", r"--set gmm\.tri\.num_gauss=many: gmm\.tri\.num_gauss: .*integer"),
        ("seed", r"--set seed: expected section\.key=value"),
        ("seed.x=1", r"--set seed\.x=1: seed is a value, not a section"),
    ],
)
def test_a_mistaken_setting_is_named(tmp_path, setting, message):
    with pytest.raises(ConfigError, match=message):
        load_recipe(write(tmp_path, "seed = 1\n"), [setting])


def test_folders_are_relative_to_the_file(tmp_path):
    recipe = load_recipe(write(tmp_path, "corpus_dir = 'data'\nnoise_dir = '/noise'\n"))
    assert str(recipe.corpus_dir) == str((tmp_path / "data").resolve())
    assert str(recipe.noise_dir) == "/noise"


def test_recipes_are_found_by_name_and_by_path(tmp_path):
    assert find_recipe("an4").parent.name == recipe_name(find_recipe("an4")) == "an4"
    path = write(tmp_path, "")
    assert find_recipe(str(path)) == path and recipe_name(path) == "mine"
    with pytest.raises(ConfigError, match=r"--recipe an5: no recipe of that name; there are .*an4.*demo"):
        find_recipe("an5")
    with pytest.raises(ConfigError, match="no such file"):
        find_recipe(str(tmp_path / "other.toml"))


def test_every_recipe_is_valid_and_explained():
    folder = next(folder for folder in recipe_folders() if folder.is_dir())
    names = {path.parent.name for path in folder.glob("*/recipe.toml")}
    assert names >= {"demo", "an4", "kaldi_dir", "mini_librispeech", "librispeech"}
    for name in names:
        load_recipe(find_recipe(name))
        assert (folder / name / "README.md").is_file()


def test_recipes_hold_no_code():
    """A recipe is a TOML file: what it needs and lacks belongs into the package, for all recipes."""
    folder = next(folder for folder in recipe_folders() if folder.is_dir())
    code = {".py", ".sh", ".pl", ".ipynb", ".bash"}
    files = [path for path in folder.rglob("*") if path.is_file()]
    programs = [p for p in files if p.suffix in code or (p.suffix != ".toml" and p.read_bytes()[:2] == b"#!")]
    assert programs == [folder / "run.sh"]
    lines = (folder / "run.sh").read_text().splitlines()
    assert [line for line in lines if line and not line.startswith("#")] == ['exec python -m pyasr.run "$@"']


def test_a_corpus_of_one_s_own(tmp_path):
    recipe = load_recipe(write(tmp_path, "[corpus]\nkind = 'kaldi_dir'\ntranscribed = 'train_si284'\n"))
    assert (str(recipe.corpus.transcribed), str(recipe.corpus.dev)) == ("train_si284", "dev")
