import re
from html.parser import HTMLParser

import numpy as np
import pyarrow as pa
import pytest

from synthmill.columns import Column, Schema
from synthmill.evaluator import Score
from synthmill.pixels import encode_png
from synthmill.report.charts import CHART_HEIGHT, STRIP_WIDTH, chart, strip
from synthmill.report.inputs import ReportInput, StratumFacts
from synthmill.report.render import render
from synthmill.scoring import Scores
from synthmill.scoring.gates import Verdict
from synthmill.scoring.histograms import histograms

TABLE = Schema(
    columns=(
        Column(name="amount", kind="number", dtype="double"),
        Column(name="day", kind="date", dtype="date32"),
        Column(name="<label>", kind="category", dtype="string"),
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
LOST = Score(
    name="utility/tstr", value=None, direction="higher", status="undetermined", reason="12 rows a side", rows=12
)


def rows(seed: int) -> pa.Table:
    rng = np.random.default_rng(seed)
    return pa.table(
        {
            "amount": rng.normal(size=60),
            "day": pa.array(rng.integers(20_000, 20_100, 60).astype(np.int32)).cast(pa.date32()),
            "<label>": rng.choice(["<b>", "a&b", None], 60).tolist(),
        },
        schema=TABLE.arrow,
    )


def report(schema: Schema = TABLE, samples: pa.Table | None = None, **changed) -> ReportInput:
    counted = histograms(rows(0), rows(1), schema.columns) if schema is TABLE else ()
    shown = rows(0).slice(0, 5) if samples is None else samples
    fields = {
        "dataset": "fair",
        "schema": schema,
        "rows": 12_345,
        "strata": (StratumFacts(0, "table/vae", "income is >50K", 12_345, 13_000, (("copy of train", 655),)),),
        "scores": Scores((GOOD, LOST), ((GOOD, LOST),), {}, counted, shown),
        "verdicts": (Verdict("fidelity/c2st", "at_least", 0.7, "normalised", "passed", "normalised 0.875"),),
        "facts": (("seed", "7"),),
    }
    return ReportInput(**(fields | changed))


class Page(HTMLParser):
    """What opens must close, in order; collects text and attributes."""

    VOID = ("meta", "img", "br")

    def __init__(self, html: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.links: list[str] = []
        self.words: list[str] = []
        self.feed(html)
        assert self.open == []

    def handle_starttag(self, tag, attrs):
        self.links += [value or "" for name, value in attrs if name in ("src", "href")]
        if tag not in self.VOID:
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_startendtag(self, tag, attrs):
        pass

    def handle_data(self, data):
        if "style" not in self.open:
            self.words.append(data)

    @property
    def text(self) -> str:
        return " ".join(" ".join(self.words).split())


def test_the_page_says_what_was_measured_and_judged():
    text = Page(render(report())).text
    for said in (
        "fair",
        "12,345 synthetic rows",
        "0.900",
        "0.850 to 0.950",
        "0.200",
        "1.000",
        "0.875",
        "636",
        "passed",
    ):
        assert said in text
    assert "at least 0.7 of normalised: normalised 0.875" in text
    assert "utility/tstr is undetermined: 12 rows a side" in text
    assert "655 copy of train" in text


def test_the_page_is_the_same_bytes_again():
    assert render(report()) == render(report())


def test_the_page_reaches_for_nothing_outside_itself():
    html = render(report())
    assert Page(html).links == []
    assert not re.search(r"https?://|<script|@import|url\(", html)


def test_data_and_recipe_are_escaped():
    html = render(report(dataset="<script>alert(1)</script>"))
    assert "<script>" not in html
    assert "<b>" not in html
    assert "a&amp;b" in html
    assert "&lt;label&gt;" in html


def test_jobs_have_scores_of_their_own_only_where_there_are_several():
    assert "Job 0" not in Page(render(report())).text
    two = Scores((GOOD,), ((GOOD,), (LOST,)), {}, (), rows(0).slice(0, 0))
    three = [(0, "table/vae", "a"), (0, "table/vae", "b"), (1, "table/copula", "all")]
    strata = tuple(StratumFacts(job, generator, label, 10, 10) for job, generator, label in three)
    text = Page(render(report(scores=two, strata=strata))).text
    assert "Job 0: table/vae" in text
    assert "Job 1: table/copula" in text


def test_images_are_shown_by_label():
    pixels = [{"bytes": encode_png(np.full((8, 8), shade, dtype=np.uint8)), "path": None} for shade in (0, 90, 200)]
    samples = pa.table({"image": pixels, "digit": ["7", "3", "7"]}, schema=IMAGE.arrow)
    page = Page(render(report(IMAGE, samples)))
    assert len(page.links) == 3
    assert all(link.startswith("data:image/png;base64,") for link in page.links)
    assert page.text.index("digit 3") < page.text.index("digit 7")


def test_a_strip_keeps_the_order_of_its_marks():
    marks = strip(GOOD)
    assert 0 < marks.floor < marks.low < marks.value < marks.high < marks.ceiling < STRIP_WIDTH
    assert (marks.value - marks.floor) / (marks.ceiling - marks.floor) == pytest.approx(0.875, abs=1e-3)
    assert strip(LOST) is None


def test_bars_compare_shares_not_counts():
    [amount, day, label] = [chart(h) for h in histograms(rows(0), pa.concat_tables([rows(1)] * 3), TABLE.columns)]
    assert max(max(bar.synthetic, bar.real) for bar in amount.bars) == CHART_HEIGHT
    again = chart(histograms(rows(0), rows(1), TABLE.columns)[0])
    assert [bar.real for bar in amount.bars] == [bar.real for bar in again.bars]
    assert re.fullmatch(r"\d{4}-\d\d-\d\d to \d{4}-\d\d-\d\d", day.bars[1].label)
    assert {bar.label for bar in label.bars} == {"<b>", "a&b", "missing"}


def test_histograms_count_every_row_once():
    for found in histograms(rows(0), rows(1), TABLE.columns):
        assert sum(found.synthetic) == sum(found.real) == 60
