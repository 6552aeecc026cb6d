"""The corpora by kind."""

from __future__ import annotations

import importlib
from concurrent.futures import Executor
from pathlib import Path

from pyasr.base.artifact import write_json
from pyasr.corpora.manifest import Summary
from pyasr.corpora.options import CorpusOptions

# Imported when asked for: a corpus may need an optional extra (demo) that the others do without.
_MODULES = {
    "demo": "pyasr.corpora.demo",
    "an4": "pyasr.corpora.an4",
    "kaldi_dir": "pyasr.corpora.kaldi_dir",
    "manifests": "pyasr.corpora.manifests",
    "mini_librispeech": "pyasr.corpora.librispeech",
    "librispeech": "pyasr.corpora.librispeech",
}


def prepare_corpus(
    options: CorpusOptions, corpus_dir: Path | None, out_dir: Path, seed: int, executor: Executor
) -> Summary:
    """Write the corpus folder `out_dir`, in the form of `pyasr.corpora.manifest`, for the corpus `options.kind`.

    corpus_dir: where the corpus lies; None for the demo.
    Raises ConfigError for a wrong folder or option, DataError for damaged files.
    """
    out_dir = Path(out_dir).resolve()
    out_dir.mkdir(parents=True, exist_ok=True)
    module = importlib.import_module(_MODULES[options.kind])
    summary = module.prepare(options, corpus_dir, out_dir, seed, executor)
    write_json(out_dir / "summary.json", summary.to_dict())
    return summary
