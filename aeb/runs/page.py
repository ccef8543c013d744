# SPDX-License-Identifier: Apache-2.0
"""Make one self-contained HTML page from the folder of a run.

The page needs no network and no script: it contains its style sheet, and its charts are inline SVG.
It follows the reader's light or dark theme and is readable on a phone. For an unfinished run, the
page shows what there is so far. For a run of several seeds, the charts show the last.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from html import escape
from typing import Any

import aeb
from aeb.files.sparse_file import inspect_sparse
from aeb.runs import charts
from aeb.runs.charts import Series
from aeb.runs.folder import COLUMNS, Run, written
from aeb.runs.health import health, stages

__all__ = ["page"]

COLOURS = {"dense": 5, "compress": 0, "sparse": 0, "magnitude": 1, "em": 2, "sa": 0, "learned": 3}
"""A stage and its network have the same colour in all charts."""

MEANING = {
    "nll": "NLL: mean negative log-likelihood in nats.",
    "half_mse": "Half MSE: half the mean squared error, summed over the outputs.",
    "rmse": "RMSE: root of the mean squared error.",
    "r2": "R2: share of the targets' variance that the network explains.",
    "ece": "ECE: expected calibration error.",
    "bytes": "Bytes: of the weights in a sparse file.",
}
"""What the columns of the table mean."""


def page(run: Run) -> str:
    """Write the page.

    Args:
        run: made by `aeb.runs.read_run`.

    Returns:
        HTML.

    Example:
        >>> from pathlib import Path
        >>> page(Run(Path("run"), "net on rows", {}, [], None)).splitlines()[0]
        '<!doctype html>'
    """
    parts = [
        f"<header><h1>{escape(run.title)}</h1><p>{_summary(run)}</p></header>",
        _section("Networks", _networks(run)),
        _section("Health", _health(run)),
        _section("Along the run", _cards(_curves(run))),
        _section("The sparse network", _cards(_network(run))),
        _section("How sure it is", _cards(_reliability(run))),
        _section("Settings", _settings(run)),
        f"<footer>Made by aeb {escape(aeb.__version__)} from {escape(str(run.folder))}.</footer>",
    ]
    return (
        '<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        '<meta name="color-scheme" content="light dark">\n'
        f"<title>{escape(run.title)}</title>\n<style>{STYLE}</style>\n</head>\n<body>\n<main>\n"
        + "\n".join(parts)
        + "\n</main>\n</body>\n</html>\n"
    )


def _summary(run: Run) -> str:
    """Summarise the result in a sentence."""
    name = _shown(run)
    facts = _leaves(run, name) if name else []
    if not (name and facts):
        return "This run has not left a sparse network yet."
    size, zeros = (sum(leaf[key] for leaf in facts) for key in ("size", "zeros"))
    text = f"{zeros / size:.1%} of {size:,} weights are zero"
    if len(run.scores[1]) > 2:
        text = f"{run.label(name)}: {text}"
    scores = run.scores[1]
    mean, dense = scores.get(name, {}), scores.get("dense", {})
    if mean.get("accuracy") is not None:
        text += f"; {mean['accuracy']:.2%} of {run.scored_on} are right"
        if dense.get("accuracy") is not None:
            text += f", {dense['accuracy']:.2%} with the dense network"
    elif mean.get("rmse") is not None:
        text += f"; RMSE {mean['rmse']:.4g} on {run.scored_on}"
        if dense.get("rmse") is not None:
            text += f", {dense['rmse']:.4g} with the dense network"
    if mean.get("bytes") and dense.get("bytes"):
        text += f"; {mean['bytes']:,.0f} bytes in place of {dense['bytes']:,.0f}"
    return escape(text + ".")


def _networks(run: Run) -> str:
    scores = run.scores[1]
    if not scores:
        return ""
    used = [key for key in COLUMNS if any(key in mean for mean in scores.values())]
    head = "".join(f"<th>{escape(COLUMNS[key][0])}</th>" for key in used)
    body = ""
    for name, mean in scores.items():
        cells = "".join(f"<td>{written(key, mean.get(key))}</td>" for key in used)
        body += f"<tr><th>{escape(run.label(name))}</th>{cells}</tr>"
    seeds = (run.results or {}).get("arms") or (run.results or {}).get("validation") or {}
    count = len(next(iter(seeds.values()), []))
    means = f", means over {count} seeds" if count > 1 else ""
    return (
        f'<div class="wide"><table><thead><tr><th></th>{head}</tr></thead>'
        f"<tbody>{body}</tbody></table></div>"
        f'<p class="note">Scored on {run.scored_on}{means}. '
        f"{' '.join(MEANING[key] for key in used if key in MEANING)}</p>"
    )


def _health(run: Run) -> str:
    items = "".join(
        f'<li class="{"well" if line.is_well else "look"}"><b>{"ok" if line.is_well else "look"}'
        f"</b><span>{escape(line.text)}</span></li>"
        for line in health(run)
    )
    return f'<ul class="health">{items}</ul>'


def _curves(run: Run) -> list[str]:
    grouped = stages(run)
    last = max((seed for seed, _ in grouped), default=0)
    shown = {stage: rows for (seed, stage), rows in grouped.items() if seed == last}
    end = max([row["epoch"] for rows in shown.values() for row in rows], default=1.0)
    across: dict[str, Any] = {"x_label": "epoch of the stage", "x_range": (0.0, end)}
    figures = []
    loss = [_series(run, stage, rows, "epoch", "loss") for stage, rows in shown.items()]
    if any(one.points for one in loss):
        figures.append(
            _figure(
                charts.lines(loss, **across, y_label="loss (logarithmic)", log=True),
                "Loss on rows that are not trained on; lower is better.",
                loss,
            )
        )
    right = [_series(run, stage, rows, "epoch", "accuracy", 100.0) for stage, rows in shown.items()]
    if any(one.points for one in right):
        figures.append(
            _figure(
                charts.lines(right, **across, y_label="accuracy, %"),
                "Share of right classes on the same rows.",
                right,
            )
        )
    ramps = []
    for stage, rows in shown.items():
        if stage != "dense":
            ramps.append(_series(run, stage, rows, "epoch", "sparsity", 100.0))
            target = _series(run, stage, rows, "epoch", "target", 100.0)
            # Arms that share a ramp share its line.
            if target.points and all(
                target.points != one.points for one in ramps if one.is_backdrop
            ):
                ramps.append(target._replace(name="target", is_backdrop=True))
    if any(one.points for one in ramps):
        figures.append(
            _figure(
                charts.lines(ramps, **across, y_label="zeros, %", y_range=(0.0, 100.0)),
                "Zeros over all weights (line), and what the ramp asks for (wide and pale).",
                [one for one in ramps if not one.is_backdrop],
            )
        )
    return figures


def _series(
    run: Run, stage: str, rows: list[dict[str, Any]], x: str, y: str, times: float = 1.0
) -> Series:
    points = [(row[x], times * row[y]) for row in rows if row.get(y) is not None]
    return Series(run.label(stage), points, COLOURS.get(stage, 4))


def _network(run: Run) -> list[str]:
    name = _shown(run)
    leaves = _leaves(run, name) if name else []
    if not (name and leaves):
        return []
    rows = [
        (leaf["path"] or "(array)", leaf["zeros"] / max(leaf["size"], 1), _share(leaf))
        for leaf in leaves
        if leaf["size"] > 1
    ]
    label = escape(run.label(name))
    figures = [
        _figure(charts.bars(rows), f"Zeros by leaf, {label}: share, and weights that are left.", [])
    ]
    rho = ((run.results or {}).get("networks", {}).get(name) or {}).get("rho")
    if rho:
        counts = [sum(column) for column in zip(*rho.values(), strict=True)]
        total = sum(counts)
        figures.append(
            _figure(
                charts.columns(
                    [100.0 * count / total for count in counts],
                    x_label="inclusion probability, rho",
                    y_label="weights, % (logarithmic)",
                    log=True,
                ),
                f"What the prior holds of {total:,} weights, {label}: at 0 for spike, which may "
                "go, at 1 for slab.",
                [],
            )
        )
    return figures


def _share(leaf: dict[str, Any]) -> str:
    left = leaf["size"] - leaf["zeros"]
    return f"{leaf['zeros'] / max(leaf['size'], 1):.1%}, {left:,} left"


def _reliability(run: Run) -> list[str]:
    networks = (run.results or {}).get("networks", {})
    curves, rows = [], "test"
    for name, facts in networks.items():
        curve = facts.get("reliability")
        if curve:
            pairs = zip(curve["confidence"], curve["accuracy"], strict=True)
            points = [(c, a) for c, a in pairs if c is not None and a is not None]
            curves.append(Series(run.label(name), points, COLOURS.get(name, 4), dots=True))
            rows = facts.get("rows", rows)
    if not curves:
        return []
    figures = [
        _figure(
            charts.lines(
                curves,
                x_label="confidence",
                y_label="accuracy",
                x_range=(0.0, 1.0),
                y_range=(0.0, 1.0),
                diagonal=True,
            ),
            f"Reliability on the {rows} rows: below the diagonal a network is too sure of itself.",
            curves,
        )
    ]
    name = _shown(run)
    shown = (networks.get(name) or {}).get("reliability") if name else None
    if name and shown:
        figures.append(
            _figure(
                charts.columns(shown["counts"], x_label="confidence", y_label="rows", numbers=True),
                f"Rows by confidence, {escape(run.label(name))}: a dot of the diagram that stands "
                "for few rows says little.",
                [],
            )
        )
    return figures


def _settings(run: Run) -> str:
    about = {**run.settings, **(run.results or {}).get("plan", {})}
    rows = "".join(
        f"<tr><th>{escape(name)}</th><td>{escape(_plain(value))}</td></tr>"
        for name, value in about.items()
        if value is not None
    )
    return f'<div class="wide"><table class="settings"><tbody>{rows}</tbody></table></div>'


def _plain(value: Any) -> str:
    if isinstance(value, list):
        return ", ".join(map(str, value))
    return f"{value:.6g}" if isinstance(value, float) else str(value)


def _shown(run: Run) -> str | None:
    """Choose the network to show in detail: the best by validation, or the one that samples."""
    results = run.results or {}
    sparse = [name for name in results.get("networks", {}) if name != "dense"]
    if results.get("best"):
        return str(results["best"])
    if sparse:
        return next((name for name in ("sa", "em") if name in sparse), sparse[-1])
    # Older runs have only the files.
    files = [path.stem for path in sorted(run.folder.glob("*.safetensors"))]
    return next((name for name in files if name not in ("dense", "model")), None)


def _leaves(run: Run, name: str) -> list[dict[str, Any]]:
    """List the zeros by leaf, from the results, or from the file if the results are older."""
    facts = (run.results or {}).get("networks", {}).get(name)
    if facts:
        return list(facts["leaves"])
    file = run.folder / f"{name}.safetensors"
    if not file.exists():
        return []
    return [
        {"path": leaf.path, "size": leaf.size, "zeros": leaf.zeros}
        for leaf in inspect_sparse(file).report.leaves
    ]


def _section(title: str, body: str) -> str:
    return f"<section><h2>{escape(title)}</h2>{body}</section>" if body else ""


def _cards(figures: Iterable[str]) -> str:
    joined = "".join(figures)
    return f'<div class="cards">{joined}</div>' if joined else ""


def _figure(svg: str, caption: str, legend: Sequence[Series]) -> str:
    keys = "".join(
        f'<span class="key s{one.colour % charts.SERIES}">{escape(one.name)}</span>'
        for one in legend
        if one.points
    )
    keys = f'<div class="keys">{keys}</div>' if len(legend) > 1 else ""
    return f"<figure>{svg}{keys}<figcaption>{caption}</figcaption></figure>"


STYLE = """
:root{--bg:#fff;--card:#f6f8fa;--ink:#1f2328;--soft:#59636e;--line:#d1d9e0;
--s0:#0969da;--s1:#bc4c00;--s2:#1a7f37;--s3:#8250df;--s4:#bf3989;--s5:#59636e;
--well:#1a7f37;--look:#9a6700}
@media (prefers-color-scheme:dark){:root{--bg:#0d1117;--card:#161b22;--ink:#e6edf3;--soft:#9198a1;
--line:#30363d;--s0:#58a6ff;--s1:#f0883e;--s2:#56d364;--s3:#bc8cff;--s4:#f778ba;--s5:#9198a1;
--well:#56d364;--look:#e3b341}}
*{box-sizing:border-box}
body{margin:0;background:var(--bg);color:var(--ink);
font:16px/1.5 system-ui,-apple-system,"Segoe UI",Roboto,"Helvetica Neue",Arial,sans-serif}
main{max-width:1180px;margin:0 auto;padding:24px 16px 40px}
h1{font-size:1.6rem;line-height:1.25;margin:0 0 4px;overflow-wrap:anywhere}
header p{margin:0;color:var(--soft);font-size:1.05rem}
h2{font-size:1.15rem;margin:32px 0 10px;padding-bottom:4px;border-bottom:1px solid var(--line)}
.cards{display:grid;grid-template-columns:repeat(auto-fill,minmax(min(320px,100%),1fr));gap:16px}
figure{margin:0;background:var(--card);border:1px solid var(--line);border-radius:8px;padding:12px;
max-width:560px}
figcaption{color:var(--soft);font-size:.875rem;line-height:1.4;margin-top:6px}
svg{display:block;width:100%;height:auto}
svg text{font:11px system-ui,-apple-system,"Segoe UI",Roboto,Arial,sans-serif;fill:var(--soft)}
svg text.tiny{font-size:8px}
.grid{fill:none;stroke:var(--line);stroke-width:.6}
.axis{fill:none;stroke:var(--soft);stroke-width:1}
.line{fill:none;stroke:var(--c);stroke-width:1.8;stroke-linejoin:round}
.backdrop{fill:none;stroke:var(--c);stroke-width:7;opacity:.25;stroke-linejoin:round}
.diagonal{fill:none;stroke:var(--soft);stroke-dasharray:4 3}
.dot,.bar{fill:var(--c)}
.track{fill:var(--line);opacity:.5}
.s0{--c:var(--s0)}.s1{--c:var(--s1)}.s2{--c:var(--s2)}.s3{--c:var(--s3)}.s4{--c:var(--s4)}
.s5{--c:var(--s5)}
.keys{display:flex;flex-wrap:wrap;gap:4px 14px;font-size:.8rem;margin-top:4px}
.key::before{content:"";display:inline-block;width:14px;height:3px;margin-right:6px;
vertical-align:middle;background:var(--c)}
.wide{overflow-x:auto}
table{border-collapse:collapse;font-size:.92rem;font-variant-numeric:tabular-nums}
th,td{padding:5px 14px 5px 0;text-align:right;border-bottom:1px solid var(--line);
white-space:nowrap}
th:first-child{text-align:left;font-weight:500}
thead th{color:var(--soft);font-weight:500}
.settings td{text-align:left;white-space:normal;overflow-wrap:anywhere}
.settings th{color:var(--soft)}
.note{color:var(--soft);font-size:.875rem;margin:8px 0 0}
.health{list-style:none;margin:0;padding:0}
.health li{display:flex;gap:10px;align-items:baseline;padding:4px 0}
.health b{flex:none;width:3.2em;font-size:.8rem;text-transform:uppercase;
letter-spacing:.04em}
.well b{color:var(--well)}.look b{color:var(--look)}
@media (max-width:480px){table{font-size:.82rem}th,td{padding-right:9px}}
footer{margin-top:36px;color:var(--soft);font-size:.85rem;overflow-wrap:anywhere}
"""
"""The style sheet: two themes, one column on a phone."""
