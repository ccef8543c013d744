# SPDX-License-Identifier: Apache-2.0
"""`aeb report` and `aeb compare`, on folders of runs that are made up.

Mutations that fail here: a title not escaped, an axis upside down, counts left out, the dense
network shown for the sparse one, a last line that is being written refused; settings that are the
same listed as differing, a target that was missed called reached.
"""

import html.parser
import json
import re
import xml.etree.ElementTree as ET

import pytest

from aeb.cli import main
from aeb.runs import charts
from aeb.runs.charts import Series
from aeb.runs.folder import read_run
from aeb.runs.health import health
from aeb.runs.page import page

LEAVES = [
    {"path": "fc/kernel", "shape": [10, 10], "size": 100, "zeros": 90},
    {"path": "fc/bias", "shape": [10], "size": 10, "zeros": 0},
]

OWN = {"scope": "global", "num_steps": 40}
"""Settings that a run with the user's own network has."""

LOW = {"fc/kernel": [100] + [0] * 19}
MIDDLE = {"fc/kernel": [0] * 9 + [50, 50] + [0] * 9}
HIGH = {"fc/kernel": [0] * 19 + [100]}


def facts(zeros, rho):
    leaves = [{**LEAVES[0], "zeros": zeros}, LEAVES[1]]
    accuracy = [None] * 12 + [0.5, 0.7, 0.9]
    reliability = {"confidence": accuracy, "accuracy": accuracy, "counts": [0] * 12 + [7, 31, 162]}
    return {"leaves": leaves, "rho": rho, "reliability": reliability, "rows": "test"}


def scores(accuracy, sparsity):
    others = {"ece": 0.02, "sparsity": sparsity, "bytes": 200}
    return [{"accuracy": accuracy, "nll": 1.3 - accuracy} | others]


@pytest.fixture
def make_run(tmp_path):
    """Write the folder of a run."""

    def make(name="run", *, sparsity=0.8, zeros=88, accuracy=0.95, rho=None, **changes):
        folder = tmp_path / name
        folder.mkdir()
        settings = {"model": "net:make", "data": "train.npz", "sparsity": sparsity, "seed": 0}
        (folder / "settings.json").write_text(json.dumps(settings | changes))
        rows = [
            {"seed": 0, "stage": stage, "step": step, "epoch": step / 10, "loss": 1 / step}
            | {"accuracy": 0.9, "sparsity": 0.8, "target": None if stage == "dense" else sparsity}
            for stage in ("dense", "compress")
            for step in (10, 20, 40)
        ]
        (folder / "metrics.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
        rho = {"fc/kernel": [88, *[0] * 18, 12]} if rho is None else rho
        results = {
            "title": "net:make on <train> & test",
            "best": "sparse",
            "plan": {"num_held_out": 40, "num_test": 200},
            "arms": {"dense": scores(0.955, 0.0), "sparse": scores(accuracy, zeros / 110)},
            "networks": {"dense": facts(0, None), "sparse": facts(zeros, rho)},
        }
        (folder / "results.json").write_text(json.dumps(results))
        return folder

    return make


class Tags(html.parser.HTMLParser):
    """See that tags close, and gather what a page would fetch."""

    VOID = ("meta",)

    def __init__(self, text):
        super().__init__()
        self.open, self.fetched, self.seen = [], [], []
        self.feed(text)
        assert not self.open

    def handle_starttag(self, tag, attrs):
        self.seen.append(tag)
        self.fetched += [value for name, value in attrs if name in ("src", "href", "data")]
        if tag not in self.VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag, attrs):
        self.seen.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag


def test_the_page_stands_alone_and_shows_the_run(make_run, capsys):
    folder = make_run()
    assert main(["report", str(folder)]) == 0
    assert "report.html" in capsys.readouterr().out
    text = (folder / "report.html").read_text()
    tags = Tags(text)
    assert not tags.fetched
    assert "script" not in tags.seen
    assert not re.search(r"@import|url\(|https?:", text)
    assert "net:make on &lt;train&gt; &amp; test" in text
    assert "80.0% of 110 weights are zero" in text
    assert "95.00% of the 200 test rows are right, 95.50% with the dense" in text
    assert "88.0%, 12 left" in text
    for count in ("7", "31", "162"):
        assert f">{count}</text>" in text
    # Loss, accuracy, ramp; zeros and rho; reliability and its counts.
    assert text.count("<svg") == text.count("<figcaption") == 7
    for svg in re.findall(r"<svg.*?</svg>", text, re.DOTALL):
        ET.fromstring(svg)


def test_a_run_at_work_and_one_of_before_have_a_page(make_run, capsys):
    folder = make_run()
    (folder / "results.json").unlink()
    with (folder / "metrics.jsonl").open("a") as file:
        file.write('{"seed": 0, "sta')  # a line that is being written
    assert main(["report", str(folder), "--json"]) == 0
    shown = json.loads(capsys.readouterr().out)
    assert [line["text"] for line in shown["health"] if not line["is_well"]] == [
        "The run is not finished, at step 40 of its stage compress; the same command goes on "
        "with it."
    ]
    assert page(read_run(folder)).count("<svg") == 3
    (folder / "metrics.jsonl").unlink()
    assert page(read_run(folder)).count("<svg") == 0
    (folder / "settings.json").unlink()
    assert main(["report", str(folder)]) == 2
    assert "holds none of settings.json" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"zeros": 80}, "missed, 72.73% of 80.00% zeros; give the ramp more steps with --epochs,"),
        ({"zeros": 99}, "missed, 90.00% of 80.00% zeros; weights that were zero at the start"),
        ({"zeros": 100, "sparsity": 0.909}, "no weight is left in fc/kernel; lower --sparsity."),
        ({"zeros": 100, "sparsity": None, **OWN}, "fc/kernel; give --sparsity a number."),
        ({"zeros": 100, "sparsity": 0.909, **OWN}, "fc/kernel; use --scope relative, or lower"),
        (
            {"accuracy": 0.9},
            "5.50 points of accuracy on the 200 test rows; NLL 0.4, that of the "
            "dense network 0.345. Raise --epochs, or lower --sparsity.",
        ),
        ({"accuracy": 0.9, **OWN}, "Raise --num-steps, or lower --sparsity."),
        ({"accuracy": 0.93}, "So few rows may show this by chance; score it on more."),
        ({"rho": MIDDLE}, "rho stays near 1/2: the prior has learned little; raise --epochs."),
        ({"rho": LOW}, "v0 is far above the weights; lower --v0."),
        ({"rho": LOW, **OWN}, "v0 is far above the weights, from which it was taken; nothing to"),
        ({"rho": HIGH}, "v0 is far below the weights; raise --v0."),
        ({"rho": HIGH, "sparsity": None, **OWN}, "give --sparsity a number, or --where fewer"),
    ],
)
def test_health_says_what_to_look_at(make_run, changes, says):
    lines = health(read_run(make_run(**changes)))
    assert [line.text for line in lines if not line.is_well and says in line.text]
    assert not [line for line in lines if line.is_well and says in line.text]
    sound = health(read_run(make_run("sound")))
    assert all(line.is_well for line in sound)
    assert any("NLL 0.35, that of the dense network 0.345." in line.text for line in sound)


def test_health_compares_squared_errors(make_run):
    """Mutations: the dense network judged; a rise of a tenth reported."""
    folder = make_run()
    results = json.loads((folder / "results.json").read_text())
    for sparse, is_well in ((0.54, True), (0.56, False)):
        each = {"dense": 0.5, "sparse": sparse}
        results["arms"] = {name: [{"half_mse": loss}] for name, loss in each.items()}
        (folder / "results.json").write_text(json.dumps(results))
        (line,) = [line for line in health(read_run(folder)) if "half MSE" in line.text]
        assert line.is_well == is_well
        assert f"half MSE {sparse:.4g} on the 200 test rows, that of the dense" in line.text
        assert ("Raise --epochs" in line.text) != is_well


def test_health_sees_a_loss_that_rises_again(make_run):
    folder = make_run()
    rows = (folder / "metrics.jsonl").read_text().splitlines()
    rows.append(json.dumps(json.loads(rows[-1]) | {"step": 80, "loss": 0.9}))
    (folder / "metrics.jsonl").write_text("\n".join(rows) + "\n")
    looks = [line.text for line in health(read_run(folder)) if not line.is_well]
    assert len(looks) == 1
    assert "rose from 0.025 at step 40 to 0.9" in looks[0]


def test_runs_side_by_side(make_run, capsys):
    one, two = make_run("one"), make_run("two", sparsity=0.9, zeros=99, accuracy=0.91)
    assert main(["compare", str(one), str(two), "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["settings_that_differ"] == {"sparsity": [0.8, 0.9]}
    sparse = [run["scores"]["sparse"] for run in found["runs"]]
    assert [each["accuracy"] for each in sparse] == [0.95, 0.91]
    assert [run["rows"] for run in found["runs"]] == ["test", "test"]
    assert main(["compare", str(one), str(two)]) == 0
    text = capsys.readouterr().out
    assert re.search(r"two +sparse +test +91\.00 +0\.3900 +2\.00 +90\.00 +200", text)
    assert "same rows" not in text
    assert main(["compare", str(one), str(make_run("three", data="other.npz"))]) == 0
    assert "not all of them were scored on the same rows" in capsys.readouterr().out
    assert main(["compare", str(one)]) == 2
    assert "two or more" in capsys.readouterr().err
    (two / "results.json").unlink()
    assert main(["compare", str(one), str(two)]) == 2
    assert "two has no scores yet" in capsys.readouterr().err


def circles(svg):
    root = ET.fromstring(svg)
    return [(float(c.get("cx")), float(c.get("cy"))) for c in root.iter("circle")]


def test_charts_put_points_where_they_belong():
    series = [Series("a", [(0.0, 0.0), (1.0, 10.0)], 0, dots=True)]
    (left, low), (right, high) = circles(charts.lines(series, x_label="x", y_label="y"))
    assert left < right
    assert low > high  # the y of a picture runs downward
    decades = [Series("a", [(0.0, 0.01), (1.0, 0.1), (2.0, 1.0), (3.0, 0.0)], 0, dots=True)]
    places = circles(charts.lines(decades, x_label="x", y_label="y", log=True))
    assert len(places) == 3
    assert places[0][1] - places[1][1] == pytest.approx(places[1][1] - places[2][1], abs=0.1)
    one = [Series("a", [(2.0, 3.0)], 0)]
    assert len(circles(charts.lines(one, x_label="x", y_label="y"))) == 1
    root = ET.fromstring(charts.columns([1.0, 0.0, 2.0], x_label="x", y_label="y"))
    heights = [float(bar.get("height")) for bar in root.iter("rect")]
    assert heights[1] == 0.0
    assert heights[2] == pytest.approx(2 * heights[0], rel=0.01)
