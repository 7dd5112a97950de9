"""What goes into the page as it is: style, script, the chart library and the charts' data, and the policy that allows only these."""

from __future__ import annotations

import base64
import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from importlib.resources import files

from markupsafe import Markup

from synthmill.report.charts import Chart
from synthmill.report.specs import SPECS


@dataclass(frozen=True, slots=True)
class Assets:
    """`policy` is the Content-Security-Policy: this script by its hash, no other, and no request to anywhere."""

    style: Markup
    script: Markup
    policy: str


@cache
def assets() -> Assets:
    """The script is bundled with Vega-Lite, once a process: that takes a second."""
    from vl_convert import javascript_bundle

    script = javascript_bundle(_text("report.js"))
    assert "</script" not in script, "a script must not end its own element"
    hashed = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    policy = f"default-src 'none'; script-src 'sha256-{hashed}'; style-src 'unsafe-inline'; img-src data:"
    return Assets(Markup(_text("style.css")), Markup(script), policy)


def chart_data(charts: Sequence[Chart]) -> Markup:
    """The specifications that are used and the rows of each chart, as JSON that no element can end."""
    used = {chart.spec: SPECS[chart.spec] for chart in charts}
    drawn = {chart.id: {"spec": chart.spec, "height": chart.height, "rows": chart.rows} for chart in charts}
    content = {"specs": used, "charts": drawn}
    text = json.dumps(content, allow_nan=False, separators=(",", ":"))
    for sign in "<>&":
        text = text.replace(sign, f"\\u{ord(sign):04x}")
    return Markup(text)


def _text(name: str) -> str:
    return files("synthmill.report").joinpath("templates", name).read_text(encoding="utf-8")
