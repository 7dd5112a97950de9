"""Reports in the system's Chromium, headless and without a network. `make browser` installs it where CI has none."""

import os
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Browser, sync_playwright
from support.reports import Seen, wide_report

from synthmill.report.render import render

CHROMIUM = shutil.which("chromium") or shutil.which("google-chrome")


@pytest.fixture(scope="session")
def chromium() -> Iterator[Browser]:
    if CHROMIUM is None:
        missing = "there is no Chromium: `make browser` installs it"
        (pytest.fail if os.environ.get("SYNTHMILL_CI") == "1" else pytest.skip)(missing)
    as_root = ["--no-sandbox"] if os.geteuid() == 0 else []
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=as_root)
        yield browser
        browser.close()


@pytest.fixture(scope="session")
def reports(tmp_path_factory) -> dict[str, Path]:
    """A report of few columns and one of 200, as files."""
    folder = tmp_path_factory.mktemp("reports")
    for name, columns in (("small", 12), ("wide", 200)):
        (folder / f"{name}.html").write_text(render(wide_report(columns)))
    return {name: folder / f"{name}.html" for name in ("small", "wide")}


@pytest.fixture
def visit(chromium, reports):
    """Open a report; what went wrong on the page is collected in `problems`."""
    pages = []

    def go(name: str, width: int = 1280, scheme: str = "light") -> Seen:
        page = chromium.new_page(viewport={"width": width, "height": 900}, color_scheme=scheme)
        seen = Seen(page, [])
        page.on("console", lambda message: seen.problems.append(f"console {message.type}: {message.text}"))
        page.on("pageerror", lambda error: seen.problems.append(f"error: {error}"))
        page.on("dialog", lambda dialog: seen.problems.append(f"dialog: {dialog.message}"))
        page.on("request", lambda request: seen.ask(request.url))
        page.goto(reports[name].as_uri())
        pages.append(page)
        return seen

    yield go
    for page in pages:
        page.close()
