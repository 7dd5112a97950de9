import json
import re
from dataclasses import replace
from html.parser import HTMLParser

import numpy as np
import pyarrow as pa
import pytest

from synthmill.columns import Column, Schema
from synthmill.evaluator import Score
from synthmill.pixels import encode_png
from synthmill.report.closest import closest_rows
from synthmill.report.inputs import JobFacts, ReportInput, SourceFacts, StratumFacts
from synthmill.report.machine import report_json
from synthmill.report.render import render
from synthmill.scoring import Scores
from synthmill.scoring.gates import Verdict
from synthmill.scoring.histograms import histograms
from synthmill.scoring.previous import PreviousRelease

NASTY = "</script ><script>alert(1)</script >"
TABLE = Schema(
    columns=(
        Column(name="amount", kind="number", dtype="double"),
        Column(name="day", kind="date", dtype="date32"),
        Column(name=NASTY, kind="category", dtype="string"),
    )
)
IMAGE = Schema(
    columns=(Column(name="image", kind="image", dtype="image"), Column(name="digit", kind="category", dtype="string"))
)
GOOD = Score(
    name="fidelity/c2st",
    value=0.9,
    direction="higher",
    floor=0.2,
    ceiling=1.0,
    normalised=0.875,
    interval=(0.85, 0.95),
    rows=636,
)
LOST = Score(name="utility/tstr", value=None, status="undetermined", reason="12 rows a side", rows=12)
POOR = GOOD.model_copy(update={"name": "fidelity/trend", "value": 0.3, "normalised": 0.125, "interval": (0.25, 0.35)})
PASSED = Verdict("fidelity/c2st", "at_least", 0.7, "normalised", "passed", "normalised 0.875")
MISSED = Verdict("fidelity/trend", "at_least", 0.7, "normalised", "missed", "normalised 0.125")
WARNED = Verdict("fidelity/shape", "at_least", 0.9, "value", "missed", "value 0.8; at least 0.9", action="warn")
TABLES = {
    "fidelity/shape/columns": pa.table({"column": ["amount", "day", NASTY], "value": [0.91, 0.92, 0.93]}),
    "fidelity/trend/correlations": pa.table(
        {"column": ["amount", "amount"], "other": ["day", NASTY], "synthetic": [0.5, None], "real": [0.75, 0.1]}
    ),
    "fidelity/c2st/columns": pa.table({"column": [NASTY, "day"], "importance": [0.4, 0.1]}),
    "fidelity/c2st/ranges": pa.table(
        {"column": ["amount"], "range": ["1 to 500"], "synthetic": [0.041], "real": [0.002], "probability": [0.9]}
    ),
    "privacy/dcr/distances": pa.table(
        {
            "from": [0.0, 0.1],
            "to": [0.1, None],
            "synthetic_to_train": [0.4, 0.6],
            "synthetic_to_holdout": [0.5, 0.5],
            "holdout_to_train": [0.7, 0.3],
        }
    ),
    "validity/rules/rules": pa.table({"rule": ["amount > 0"], "broken": [12_345]}),
}


def rows(seed: int) -> pa.Table:
    rng = np.random.default_rng(seed)
    return pa.table(
        {
            "amount": rng.normal(size=60),
            "day": pa.array(rng.integers(20_000, 20_100, 60).astype(np.int32)).cast(pa.date32()),
            NASTY: rng.choice(["<i>", 'a&b"', None], 60).tolist(),
        },
        schema=TABLE.arrow,
    )


def report(schema: Schema = TABLE, samples: pa.Table | None = None, tables=TABLES, scores=(GOOD, LOST), **changed):
    counted = histograms(rows(0), rows(1), schema.columns) if schema is TABLE else ()
    shown = rows(0) if samples is None else samples
    fields = {
        "dataset": "fair",
        "schema": schema,
        "rows": 12_345,
        "strata": (StratumFacts(0, "table/vae", "income is >50K", 12_345, 13_000, (("copy of train", 655),)),),
        "scores": Scores(scores, (scores,), tables, counted, shown),
        "verdicts": (PASSED,),
        "facts": (("seed", "7"),),
        "jobs": (JobFacts("table/vae", 12_345, "income is >50K"),),
        "source": SourceFacts("data/adult.csv", 26_000, 6_500, "income"),
    }
    return ReportInput(**(fields | changed))


class Page(HTMLParser):
    """What opens must close, in order; collects text, ids, links and the charts' data."""

    VOID = ("meta", "img", "br", "input", "wbr")

    def __init__(self, html: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.links: list[str] = []
        self.ids: list[str] = []
        self.words: list[str] = []
        self.scripts: list[str] = []
        self.feed(html)
        assert self.open == []

    def handle_starttag(self, tag, attrs):
        named = dict(attrs)
        self.links += [named[name] for name in ("src", "href") if name in named]
        self.ids += [named["id"]] if "id" in named else []
        if tag == "script":
            self.scripts.append("")
        if tag not in self.VOID:
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_startendtag(self, tag, attrs):
        pass

    def handle_data(self, data):
        if "script" in self.open:
            self.scripts[-1] += data
        elif "style" not in self.open:
            self.words.append(data)

    @property
    def text(self) -> str:
        return " ".join(" ".join(self.words).split())

    @property
    def charts(self):
        return json.loads(self.scripts[0])


def test_the_page_says_what_was_measured_and_judged():
    text = Page(render(report())).text
    for said in ("fair", "12,345", "0.900", "0.850 to 0.950", "floor 0.200", "ceiling 1.000", "0.88", "Passed"):
        assert said in text
    assert "at least 0.7 of normalised: normalised 0.875" in text
    assert "utility/tstr is undetermined: 12 rows a side" in text
    assert "Can a classifier tell synthetic rows from real ones" in text
    assert "655 copy of train" in text


def test_the_first_screen_says_what_was_made_from_what():
    text = Page(render(report())).text
    assert "data/adult.csv 26,000 train rows, 6,500 held out; target income" in text
    assert "12,345 rows by table/vae , income is >50K" in text


@pytest.mark.parametrize(
    ("verdicts", "override", "said"),
    [
        ((), None, "Measured The recipe names no gate"),
        (
            (PASSED, WARNED),
            None,
            "Passed 1 of 2 gates passed. 1 warning. ! fidelity/shape warned value 0.8; at least 0.9 (warns)"
            " ✓ fidelity/c2st at least 0.7 of normalised",
        ),
        ((PASSED,), None, "Passed The only gate passed. ✓ fidelity/c2st at least 0.7 of normalised"),
        ((PASSED, PASSED), None, "Passed All 2 gates passed. ✓"),
        ((PASSED, MISSED), None, "Blocked 1 of 2 gates blocks; it is not released. ✕ fidelity/trend missed"),
        ((MISSED,), "the deadline", "Released by override 1 of 1 gate blocks. The reason given: the deadline"),
    ],
)
def test_the_verdict_comes_first_with_its_reasons(verdicts, override, said):
    assert said in Page(render(report(verdicts=verdicts, override=override))).text


def test_a_low_score_comes_with_what_to_do():
    assert "What to do" not in Page(render(report())).text
    text = Page(render(report(scores=(GOOD, POOR)))).text
    assert "What to do" in text
    assert "Low: trend, normalised 0.12, under 0.7" in text
    missed = Page(render(report(verdicts=(MISSED,), scores=(GOOD, POOR)))).text
    assert "Low: trend, a gate was missed" in missed


def test_what_changed_since_the_last_release_is_said():
    then = {"fidelity/c2st": GOOD.model_copy(update={"value": 0.7, "interval": (0.65, 0.75)})}
    previous = PreviousRelease("v1.2.0", 9_000, then, {"seed": 7, "jobs": [{"rows": 9_000}]})
    page = Page(render(report(previous=previous, recipe={"seed": 7, "jobs": [{"rows": 12_345}]})))
    assert "9,000 rows then, 12,345 now" in page.text
    assert "fidelity/ c2st 0.700 0.650 to 0.750 0.900 0.850 to 0.950 ▲ better" in page.text
    assert "jobs.0.rows 9000 12345" in page.text
    assert "changes" in page.ids
    assert "changes" not in Page(render(report())).ids


def test_what_an_earlier_release_does_not_say_is_left_out():
    then = Score(name="fidelity/c2st", value=0.7, interval=(0.65, 0.75))
    previous = PreviousRelease("v1.2.0", None, {then.name: then}, {})
    [changed, _] = json.loads(report_json(report(previous=previous)))["changes"]["scores"]
    assert changed["then"] == {"name": "fidelity/c2st", "value": 0.7, "interval": [0.65, 0.75]}


def test_known_tables_are_drawn_and_others_shown_as_they_are():
    page = Page(render(report()))
    drawn = page.charts["charts"]
    assert [row["difference"] for row in drawn["relations-difference"]["rows"]] == [0, 0, 0, -0.25, None]
    assert [row["real"] for row in drawn["relations-real"]["rows"]][:4] == [1, 1, 1, 0.75]
    assert drawn["telling"]["rows"][0] == {"name": NASTY, "series": "importance", "value": 0.4}
    assert {"x": 0.1, "series": "holdout to train", "value": 0.3} in drawn["privacy-dcr-distances"]["rows"]
    assert "amount 1 to 500: 4.1 % of synthetic rows, 0.2 % of real" in page.text
    assert "rule broken amount > 0 12,345" in page.text
    assert "shape 0.910" in page.text
    assert set(page.charts["specs"]) == {chart["spec"] for chart in drawn.values()}


def test_a_detector_that_found_nothing_says_so_and_draws_nothing():
    assert "gives away 40 %" in Page(render(report())).text
    nothing = pa.table({"column": [NASTY, "day"], "importance": [0.0, 0.0]})
    none = TABLES["fidelity/c2st/ranges"].slice(0, 0)
    page = Page(render(report(tables=TABLES | {"fidelity/c2st/columns": nothing, "fidelity/c2st/ranges": none})))
    assert "It found nothing to tell them apart by." in page.text
    assert "mend them first" not in page.text
    assert "gives away" not in page.text
    assert "telling" not in page.charts["charts"]
    assert "#detector" in page.links


def test_a_gate_that_warns_says_so_beside_its_score():
    shape = GOOD.model_copy(update={"name": "fidelity/shape"})
    text = Page(render(report(verdicts=(WARNED,), scores=(shape,)))).text
    assert "! warned value 0.8; at least 0.9 (warns)" in text[text.index("Each is measured") :]


def test_no_table_is_needed():
    page = Page(render(report(tables={}, scores=())))
    assert {"relations", "detector", "details"}.isdisjoint(page.ids)


def test_the_page_is_the_same_bytes_again():
    assert render(report()) == render(report())
    assert report_json(report()) == report_json(report())


def test_the_page_reaches_for_nothing_outside_itself():
    html = render(report())
    page = Page(html)
    assert all(link.startswith("#") and link[1:] in page.ids for link in page.links)
    assert len(set(page.ids)) == len(page.ids)
    policy = re.search(r'Content-Security-Policy" content="([^"]+)"', html)[1]
    assert "default-src &#39;none&#39;" in policy
    assert "unsafe-eval" not in policy
    assert not re.search(r"@import|url\(", html[: html.index("</style>")])


def test_data_and_recipe_are_escaped():
    html = render(report(dataset="<script>alert(2)</script>"))
    assert "<script>alert" not in html
    assert "<i>" not in html
    assert "&lt;i&gt;" in html
    page = Page(html)
    assert len(page.scripts) == 2
    assert not set("<>&") & set(page.scripts[0])  # the charts' data: browsers end a script where this parser does not
    assert page.charts["charts"]["column-2"]["rows"][0]["bin"] in ("<i>", 'a&b"', "missing")
    assert NASTY in page.text


def test_jobs_have_scores_of_their_own_only_where_there_are_several():
    assert "Job 0" not in Page(render(report())).text
    two = Scores((GOOD,), ((GOOD,), (LOST,)), {}, (), rows(0))
    three = [(0, "table/vae", "a"), (0, "table/vae", "b"), (1, "table/copula", "all")]
    strata = tuple(StratumFacts(job, generator, label, 10, 10) for job, generator, label in three)
    text = Page(render(replace(report(strata=strata), scores=two))).text
    assert "Job 0: table/vae" in text
    assert "Job 1: table/copula" in text


def images(shades, side: int = 8) -> pa.Table:
    noise = np.random.default_rng(0)
    pixels = [noise.integers(0, shade + 1, (side, side, 3)).astype(np.uint8) for shade in shades]
    cells = [{"bytes": encode_png(one), "path": None} for one in pixels]
    return pa.table({"image": cells, "digit": [str(9 - i) for i in range(len(cells))]}, schema=IMAGE.arrow)


def test_images_are_shown_by_label():
    page = Page(render(report(IMAGE, images((0, 90, 200)), tables={})))
    pictures = [link for link in page.links if not link.startswith("#")]
    assert len(pictures) == 3
    assert all(link.startswith("data:image/png;base64,") for link in pictures)
    assert page.text.index("digit 7") < page.text.index("digit 9")


def test_large_images_become_small_ones():
    html = render(report(IMAGE, images([255] * 8, side=400), tables={}))
    assert len(html) < 3_000_000
    assert html.count("data:image/jpeg") == 8


def test_the_private_report_shows_train_rows_beside_and_says_so():
    synthetic, train = rows(0), pa.concat_tables([rows(1), rows(0).slice(7, 1)])
    closest = closest_rows(synthetic, train, TABLE)
    assert closest.distances[0] == 0
    assert closest.synthetic.rows[0] == closest.train.rows[0]
    assert sorted(closest.distances) == list(closest.distances)
    page = Page(render(report(), closest=closest))
    assert "PRIVATE This page shows real rows" in page.text
    assert closest.train.rows[1][0] in page.text
    assert "PRIVATE" not in Page(render(report())).text


def test_the_report_for_machines_holds_what_the_page_shows():
    content = json.loads(report_json(report()))
    assert content["format"] == 1
    assert content["standing"]["status"] == "passed"
    assert [score["name"] for score in content["scores"]] == ["fidelity/c2st", "utility/tstr"]
    assert content["tables"]["fidelity/trend/correlations"][1]["synthetic"] is None
    assert [one["column"] for one in content["histograms"]] == TABLE.names
    assert content["samples"][0]["day"] == str(rows(0)["day"][0].as_py())
    assert json.loads(report_json(report(IMAGE, images((0,)), tables={})))["samples"] == [{"digit": "9"}]
