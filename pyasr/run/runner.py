"""Decides which stages run, says why, runs them, and leaves a sidecar for each."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from datetime import datetime, timezone
from pathlib import Path

from pyasr.base.artifact import remove_leftovers
from pyasr.base.errors import ConfigError
from pyasr.decode.backends import check_backend
from pyasr.run import results
from pyasr.run.console import digest_line, say
from pyasr.run.identity import Identity, describe_folder, differences, identify
from pyasr.run.lock import locked
from pyasr.run.memory import PeakMemory
from pyasr.run.revision import revision
from pyasr.run.sharing import share_stage
from pyasr.run.sidecar import Sidecar, begin_stage, disk_mb, read_sidecar
from pyasr.run.stage import Context, Stage

_REASONS_SHOWN = 4


@dataclass(frozen=True)
class Decision:
    """Whether a stage has to run, and why. selected: whether it is among those asked for."""

    number: int
    stage: Stage
    identity: Identity
    reasons: tuple[str, ...]
    selected: bool

    @property
    def must_run(self) -> bool:
        return bool(self.reasons)

    @property
    def why(self) -> str:
        """The reasons in one line; of many, the first few."""
        further = len(self.reasons) - _REASONS_SHOWN
        shown = "; ".join(self.reasons[:_REASONS_SHOWN])
        return f"{shown}; and {further} more" if further > 0 else shown

    @property
    def verdict(self) -> str:
        return "up to date" if not self.must_run else "run" if self.selected else "not asked for"


def decide(
    stages: tuple[Stage, ...], selected: range, context: Context, fresh: bool = False
) -> list[Decision]:
    """What has to run, stage by stage, judged by what is in the experiment folder now; changes nothing.

    selected: the numbers of the stages that may run. fresh: those run whatever is there.
    """
    used = {name for stage in stages for name in stage.external}
    folders = {name: describe_folder(getattr(context, name)) for name in used}
    fingerprints: dict[str, str] = {}
    runs: dict[str, str] = {}
    decisions: dict[str, Decision] = {}
    for number, stage in enumerate(stages):
        identity = identify(stage, context, fingerprints, folders)
        fingerprints[stage.name] = identity.fingerprint
        sidecar = read_sidecar(context.exp, stage.name)
        reasons = _reasons(stage, identity, sidecar, runs, context)
        reasons += [
            f"input stage {name} has to run" for name in stage.reads if decisions[name].must_run and not reasons
        ]
        if fresh and number in selected:
            reasons = reasons or ["--fresh"]
        runs[stage.name] = sidecar.started if sidecar else ""
        decisions[stage.name] = Decision(number, stage, identity, tuple(reasons), number in selected)
    return list(decisions.values())


def _reasons(
    stage: Stage, identity: Identity, sidecar: Sidecar | None, runs: dict[str, str], context: Context
) -> list[str]:
    if sidecar is None:
        begun = (context.exp / "stages" / f"{stage.name}.started.json").exists()
        return ["it was interrupted"] if begun else ["it has not run yet"]
    reasons = differences(sidecar.made_from, identity)
    reasons += [f"output {name} is missing" for name in stage.missing_outputs(context.exp)]
    reasons += [
        f"input stage {name} was rerun"
        for name in stage.reads
        if runs[name] and sidecar.inputs.get(name) != runs[name] and f"input stage {name} changed" not in reasons
    ]
    return reasons


def run(
    stages: tuple[Stage, ...],
    selected: range,
    context: Context,
    name: str,
    fresh: bool = False,
    share_from: Sequence[Path] = (),
) -> None:
    """Run those of the `selected` stages that have to run; ConfigError when an input of theirs is out of date, or a
    library missing that one of them was told to search with.

    name: the recipe's name, for results.json, which exists while the score stage is up to date. share_from: other
    experiment folders; a stage that one of them holds complete, of the same fingerprint, is linked from there
    instead of computed (`pyasr.run.sharing`), unless `fresh`.
    """
    with locked(context.exp):
        remove_leftovers(context.exp)
        decisions = decide(stages, selected, context, fresh)
        _check_inputs(decisions)
        _check_backends(decisions)
        done = {decision.stage.name for decision in decisions if not decision.must_run}
        if "score" not in done:
            results.outdate(context.exp)
        try:
            for decision in decisions:
                if not decision.selected:
                    continue
                _run_or_skip(decision, context, fresh, () if fresh else share_from)
                done.add(decision.stage.name)
                if "score" in done and (decision.must_run or not results.exist(context.exp)):
                    results.write(stages, context, name)
        finally:
            context.close()


def _run_or_skip(decision: Decision, context: Context, fresh: bool, share_from: Sequence[Path]) -> None:
    title = f"stage {decision.number:>2} {decision.stage.name:<14}"
    if not decision.must_run:
        say(f"{title} up to date")
        return
    inputs = _runs_read(decision.stage, context)
    shared = share_stage(decision.stage, decision.identity.fingerprint, inputs, context.exp, share_from)
    if shared is not None:
        say(f"{title} shared from {shared.shared_from}")
        return
    say(f"{title} runs: {decision.why}")
    sidecar = _run_stage(decision, inputs, context, fresh)
    costs = (sidecar.seconds, sidecar.peak_memory_mb, sidecar.disk_mb)
    say(f"{title} done: {digest_line(*costs, sidecar.digest)}")


def _check_inputs(decisions: list[Decision]) -> None:
    """What a stage reads has to be complete, or be run first."""
    by_name = {decision.stage.name: decision for decision in decisions}
    for decision in decisions:
        if not (decision.selected and decision.must_run):
            continue
        for name in decision.stage.reads:
            read = by_name[name]
            if read.must_run and not read.selected:
                raise ConfigError(
                    f"stage {decision.stage.name} reads what stage {read.number} {name} writes, and that has to run"
                    f" first: {read.why}; start from --stage {_first_needed(read, by_name)}"
                )


def _check_backends(decisions: list[Decision]) -> None:
    """A library that a late stage searches with is looked for before the first stage runs."""
    for decision in decisions:
        if decision.selected and decision.must_run:
            for name, value in decision.identity.options.items():
                if name.endswith(".backend"):
                    check_backend(value)


def _first_needed(decision: Decision, by_name: dict[str, Decision]) -> int:
    """The number of the first stage that has to run before or as `decision`."""
    needed = [by_name[name] for name in decision.stage.reads if by_name[name].must_run]
    return min([decision.number, *(_first_needed(item, by_name) for item in needed)])


def _runs_read(stage: Stage, context: Context) -> dict[str, str]:
    """{stage: started} of the runs whose artifacts `stage` reads."""
    sidecars = {name: read_sidecar(context.exp, name) for name in stage.reads}
    return {name: sidecar.started for name, sidecar in sidecars.items() if sidecar}


def _run_stage(decision: Decision, inputs: dict[str, str], context: Context, fresh: bool) -> Sidecar:
    stage = decision.stage
    fingerprint = decision.identity.fingerprint
    begin_stage(context.exp, stage, fingerprint, inputs, fresh)
    started, clock = datetime.now(timezone.utc).isoformat(), time.monotonic()
    with PeakMemory() as memory:
        digest = stage.function()(context)
    missing = stage.missing_outputs(context.exp)
    if missing:
        raise RuntimeError(f"stage {stage.name} ended without writing {', '.join(missing)}")
    sidecar = Sidecar(
        stage=stage.name,
        fingerprint=fingerprint,
        identity=asdict(decision.identity),
        inputs=inputs,
        revision=revision(),
        started=started,
        seconds=round(time.monotonic() - clock, 2),
        peak_memory_mb=round(memory.mb, 1),
        disk_mb=disk_mb(context.exp, stage),
        digest=digest,
    )
    sidecar.write(context.exp)
    return sidecar
