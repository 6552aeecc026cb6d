import shutil
import subprocess

import pytest

import pyasr
from pyasr.run.revision import revision, same_code

pytestmark = pytest.mark.skipif(shutil.which("git") is None, reason="needs git")


@pytest.fixture
def checkout(tmp_path, monkeypatch):
    """A checkout of its own; commit(path, text) changes a file and commits it, returns the revision then."""

    def git(*arguments):
        subprocess.run(["git", "-C", str(tmp_path), *arguments], check=True, capture_output=True)

    def write(path, text):
        file = tmp_path / path
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text)
        revision.cache_clear()

    def commit(path, text):
        write(path, text)
        git("add", ".")
        git("-c", "user.name=a", "-c", "user.email=a@b.c", "commit", "-q", "-m", "change")
        return revision()

    git("init", "-q")
    monkeypatch.setattr(pyasr, "__file__", str(tmp_path / "pyasr" / "__init__.py"))
    yield type("Checkout", (), {"write": staticmethod(write), "commit": staticmethod(commit)})
    revision.cache_clear()


def test_only_code_changes_code(checkout):
    first = checkout.commit("pyasr/__init__.py", "one")
    assert same_code(first)
    second = checkout.commit("recipes/an4/RESULTS.md", "text")
    assert second != first and same_code(first) and same_code(f"{first}+{second}")
    third = checkout.commit("recipes/an4/recipe.toml", "seed = 1")
    assert same_code(third) and not same_code(first) and not same_code(f"{second}+{third}")
    checkout.commit("recipes/an4/claims.toml", "[[claim]]")
    assert same_code(third)


def test_a_table_that_grows_makes_no_checkout_dirty(checkout):
    checkout.commit("recipes/an4/results.csv", "a\n")
    first = checkout.commit("pyasr/__init__.py", "one")
    checkout.write("recipes/an4/results.csv", "a\nb\n")
    assert revision() == first and same_code(first)


def test_what_a_dirty_checkout_made_is_not_known(checkout):
    first = checkout.commit("pyasr/__init__.py", "one")
    checkout.write("pyasr/__init__.py", "two")
    assert revision() == f"{first}-dirty"
    assert not same_code(revision()) and not same_code(first)


def test_a_revision_from_elsewhere_is_other_code(checkout):
    checkout.commit("pyasr/__init__.py", "one")
    assert not same_code("0123456789ab") and not same_code("version 0.1") and not same_code("--help")
