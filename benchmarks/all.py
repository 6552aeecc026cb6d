"""Run every benchmark, one after the other, and draw the ratios: python benchmarks/all.py FOLDER [NAME ...]

FOLDER gets NAME.json of each, table.md and ratios.png. Nothing else should be running meanwhile. What needs the folder
of a recipe is not among them.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
from pathlib import Path

import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plt

HERE = Path(__file__).resolve().parent
HELPERS = {"all", "common", "fit", "hosts", "methods_data", "methods_page", "methods_torch", "network_host"}
NEED_A_RECIPE = {"exactness", "methods", "recogniser"}
NAMES = sorted(path.stem for path in HERE.glob("*.py") if path.stem not in HELPERS | NEED_A_RECIPE)


def run(name: str, folder: Path) -> list[dict]:
    """The rows of one benchmark, which it also leaves in folder/NAME.json."""
    print(f"== {name}", flush=True)
    subprocess.run([sys.executable, HERE / f"{name}.py", "--json", folder / f"{name}.json"], check=True)
    return json.loads((folder / f"{name}.json").read_text())


def table(rows: list[dict]) -> str:
    """Markdown, a line a row."""
    lines = ["| what | ours | unit | of the bound | ratio | peer |", "|---|---|---|---|---|---|"]
    for row in rows:
        of_bound = "-" if row["of_bound"] is None else f"{100 * row['of_bound']:.0f} %"
        cells = (row["name"], f"{row['ours']:.4g}", row["unit"], of_bound, f"{row['ratio']:.2f}", row["peer_what"])
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines) + "\n"


def draw(rows: list[dict], path: Path) -> None:
    """Ratios to the peers, on a logarithmic axis; 1 is a peer's speed."""
    figure, axes = plt.subplots(figsize=(10, 1 + 0.22 * len(rows)), layout="constrained")
    labels = [f"{row['name']}  /  {row['peer_what']}" for row in rows]
    axes.barh(range(len(rows)), [row["ratio"] - 1 for row in rows], left=1, color="tab:blue")
    axes.axvline(1, color="black", linewidth=1)
    axes.set(xscale="log", xlabel="times the peer's speed", title=rows[0]["machine"], ylim=(len(rows) - 0.5, -0.5))
    axes.set_yticks(range(len(rows)), labels, fontsize=6)
    figure.savefig(path, dpi=120)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path, help="made where it does not exist")
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"of {', '.join(NAMES)}; without: all")
    arguments = parser.parse_args()
    unknown = sorted(set(arguments.names) - set(NAMES))
    if unknown:
        parser.error(f"no benchmark {', '.join(unknown)}; there are {', '.join(NAMES)}")
    arguments.folder.mkdir(parents=True, exist_ok=True)
    rows = [row for name in arguments.names or NAMES for row in run(name, arguments.folder)]
    (arguments.folder / "table.md").write_text(table(rows))
    draw(rows, arguments.folder / "ratios.png")
    print(f"{arguments.folder}/table.md, {arguments.folder}/ratios.png")


if __name__ == "__main__":
    main()
