"""The command line of pyasr.export."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated

import typer

from pyasr.base.errors import ConfigError, PyasrError
from pyasr.decode.model_dir import NetworkModel, load_model
from pyasr.export import kaldi
from pyasr.export.onnx_model import write_onnx

app = typer.Typer(
    add_completion=False,
    no_args_is_help=True,
    help="Write what was trained in the formats of others. Needs pip install '.[export]'.",
)
_WSPECIFIER = typer.Argument(help="Kaldi's: ark:FILE, ark,t:FILE (text), ark,scp:ARK,SCP.", show_default=False)
Wspecifier = Annotated[str, _WSPECIFIER]


@contextlib.contextmanager
def _errors() -> Iterator[None]:
    try:
        yield
    except PyasrError as error:
        typer.echo(f"error: {error}", err=True)
        raise typer.Exit(1) from None


@app.command()
def onnx(
    out: Annotated[Path, typer.Argument(metavar="FILE.onnx", help="What to write.", show_default=False)],
    model: Annotated[Path, typer.Option(metavar="DIR", help="EXP/decode/SYSTEM of a network.", show_default=False)],
) -> None:
    """A forward-only network as ONNX, its state as inputs and outputs.

    Example: python -m pyasr.export onnx --model exp/demo/decode/student student.onnx

    Inputs: frames (N, T, D), h and c (layers, N, H), zeros at first. Outputs: log_posteriors (N, T, S), h_out and
    c_out, to be fed with the next frames. Front end, delay and priors are in the model's metadata. The file is run
    by onnxruntime and compared with the network before it is put in place.
    """
    with _errors():
        loaded = load_model(model)
        if not isinstance(loaded, NetworkModel):
            raise ConfigError(f"{model}: a Gaussian system, not a network")
        difference = write_onnx(loaded, out)
        parameters = loaded.network.model.num_parameters
        typer.echo(f"{out}: {parameters:,} parameters; onnxruntime differs by {difference:.1e}")


@app.command()
def features(
    archive: Annotated[Path, typer.Argument(help="Such as EXP/features/train.", show_default=False)],
    wspecifier: Wspecifier,
) -> None:
    """MFCC as a Kaldi archive of float matrices.

    Example: python -m pyasr.export features exp/demo/features/train ark,scp:feats.ark,feats.scp
    """
    with _errors():
        typer.echo(f"{kaldi.write_features(archive, wspecifier)} utterances")


@app.command()
def alignments(
    file: Annotated[Path, typer.Argument(help="Such as EXP/align/targets_transcribed.npz.", show_default=False)],
    wspecifier: Wspecifier,
    system: Annotated[
        Path | None, typer.Option(metavar="DIR", help="Whose transition ids they are: EXP/gmm/NAME/system.")
    ] = None,
    what: Annotated[str, typer.Option("--as", help="With --system: pdfs or phones.")] = "pdfs",
) -> None:
    """Alignments, an integer a 10 ms frame, as a Kaldi archive of int32 vectors.

    Targets of networks (EXP/align/targets_PART.npz) are senones, which are the pdfs of the networks. Alignments of
    GMM systems are transition ids with a numbering of their own: give --system.

    Example: python -m pyasr.export alignments exp/demo/align/targets_dev.npz ark,t:senones.txt
    """
    with _errors():
        typer.echo(f"{kaldi.write_alignments(file, wspecifier, system, what)} utterances")


@app.command()
def posteriors(
    store: Annotated[Path, typer.Argument(help="Such as EXP/targets/store.", show_default=False)],
    wspecifier: Wspecifier,
) -> None:
    """A teacher's stored posteriors as a Kaldi archive of posteriors: senone and probability of the k best.

    Example: python -m pyasr.export posteriors exp/demo/targets/store ark:post.ark
    """
    with _errors():
        typer.echo(f"{kaldi.write_posteriors(store, wspecifier)} utterances")
