import pytest
from support.reports import NASTY

BOTH = pytest.mark.parametrize("width", [390, 1280])


@BOTH
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_the_page_renders_without_complaint_request_or_overflow(visit, width, scheme):
    seen = visit("small", width, scheme)
    seen.scroll_through()
    assert seen.problems == []
    assert seen.page.evaluate("document.documentElement.scrollWidth") == width
    assert seen.page.evaluate("getComputedStyle(document.body).colorScheme") == "light dark"
    grounds = {"light": "rgb(245, 246, 248)", "dark": "rgb(17, 21, 27)"}
    assert seen.page.evaluate("getComputedStyle(document.body).backgroundColor") == grounds[scheme]


@BOTH
def test_the_first_screen_holds_the_verdict_and_what_was_made_from_what(visit, width):
    page = visit("small", width).page
    for text in ("Blocked", "fidelity/c2st missed", "20,000 synthetic rows"):
        box = page.get_by_text(text).first.bounding_box()
        assert box["y"] + box["height"] < 900


@BOTH
def test_every_link_leads_to_its_section(visit, width):
    page = visit("small", width).page
    links = page.locator("nav a")
    assert links.count() >= 7
    for i in range(links.count()):
        target = links.nth(i).get_attribute("href")
        links.nth(i).click()
        page.wait_for_function(
            "id => { const top = document.querySelector(id).getBoundingClientRect().top; return top > -5 && top < 880; }",
            arg=target,
        )
        assert page.url.endswith(target)


def test_columns_are_filtered_by_keyboard(visit):
    page = visit("small").page
    page.keyboard.press("/")
    assert page.evaluate("document.activeElement.id") == "filter"
    page.keyboard.type("name_1 integer")
    shown = page.locator("#figures figure:visible h3")
    assert shown.all_inner_texts() == ["column_with_a_long_name_1"]
    assert page.locator("#found").inner_text() == "1 of 12 columns"
    page.keyboard.press("Escape")
    assert shown.count() == 12


def test_the_least_alike_columns_can_come_first(visit):
    page = visit("small").page
    figures = page.locator("#figures figure")
    likeness = lambda: [float(figures.nth(i).get_attribute("data-likeness")) for i in range(12)]  # noqa: E731
    assert likeness() != sorted(likeness())
    page.locator("#worst").focus()
    page.keyboard.press("Space")
    assert likeness() == sorted(likeness())


def test_the_numbers_behind_a_chart_unfold_by_keyboard(visit):
    page = visit("small").page
    fold = page.locator("#figures figure").nth(3).locator("details")
    fold.locator("summary").focus()
    page.keyboard.press("Enter")
    cells = fold.locator("td").all_inner_texts()
    assert NASTY in cells
    assert fold.locator("script").count() == 0


def test_charts_are_drawn_again_when_the_scheme_changes(visit):
    page = visit("small").page
    bar = page.locator("#figures .mark-rect path").first
    page.locator("#figures").scroll_into_view_if_needed()
    light = bar.get_attribute("fill")
    page.emulate_media(color_scheme="dark")
    page.wait_for_function(
        "before => document.querySelector('#figures .mark-rect path').getAttribute('fill') !== before", arg=light
    )


def test_only_what_is_in_view_is_drawn(visit):
    page = visit("wide").page
    page.wait_for_timeout(300)
    assert page.locator(".plot svg").count() < 40


@BOTH
def test_two_hundred_columns_open_and_filter(visit, width):
    seen = visit("wide", width)
    page = seen.page
    page.set_default_timeout(10_000)
    page.keyboard.press("/")
    page.keyboard.type("name_150")
    figure = page.locator("#figures figure:visible")
    figure.locator("svg").wait_for()
    assert figure.count() == 1
    assert seen.problems == []
    assert page.evaluate("document.documentElement.scrollWidth") == width


@BOTH
def test_a_label_lies_under_its_mark_and_within_its_bar(visit, width):
    page = visit("small", width).page
    misplaced = page.evaluate(
        """() => [...document.querySelectorAll("#scores > .card .bar")].flatMap((bar) => {
          const whole = bar.getBoundingClientRect();
          const marks = [...bar.querySelectorAll(".floor, .ceiling")].map((mark) => mark.getBoundingClientRect());
          const labels = [...bar.querySelectorAll(".marks span")].map((label) => label.getBoundingClientRect());
          const isUnder = (label, mark) => label.left <= mark.left + 1 && mark.right <= label.right + 1;
          const isWithin = (label) => whole.left - 1 <= label.left && label.right <= whole.right + 1;
          return labels.filter((label, i) => !isUnder(label, marks[i]) || !isWithin(label)).map((label) => label.left);
        })"""
    )
    assert misplaced == []
    assert page.locator("#scores > .card .marks span").count() == 10


def test_the_whole_menu_is_in_sight_on_a_phone(visit):
    links = visit("small", 390).page.locator("nav a")
    boxes = [links.nth(i).bounding_box() for i in range(links.count())]
    assert all(box["x"] >= 0 and box["x"] + box["width"] <= 390 for box in boxes)
