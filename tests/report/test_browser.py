"""The site in headless Chromium: no error on the console, nothing asked of a network, filters and comparisons work."""

from __future__ import annotations

import os

import pytest

from report.browser import Browser, chromium
from report.made_up import site_of_runs
from snnlab.report.__main__ import main
from snnlab.tables import papers

SHOWN = (
    "[...document.querySelectorAll('tbody tr')].filter(row => !row.hidden).map(row => row.cells[1].textContent.trim())"
)


@pytest.fixture(scope="module")
def site(tmp_path_factory):
    root = tmp_path_factory.mktemp("browser")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(papers, "names", list)  # none of the papers' rows is among the made-up runs
        assert main([str(site_of_runs(root / "runs")), "-o", str(root / "site")]) == 0
    return root / "site"


@pytest.fixture(scope="module")
def browser(tmp_path_factory):
    if chromium() is None:
        reason = "Chromium is not there: apt-get install chromium"
        if os.environ.get("SNNLAB_REQUIRE_DATA"):  # CI installs it, so there a skip would hide a failure
            pytest.fail(reason)
        pytest.skip(reason)
    browser = Browser(tmp_path_factory.mktemp("profile"))
    yield browser
    browser.close()


def test_every_page_at_two_widths_by_day_and_by_night(site, browser):
    pages = sorted(site.rglob("*.html"))
    assert len(pages) == 12
    for width, dark in ((1280, False), (390, True)):
        browser.look(width, 4000, dark)
        for page in pages:
            browser.open(page.as_uri())
            assert browser.run("window.evil === undefined && document.title.length > 3"), page.name
            assert browser.run("document.documentElement.scrollWidth") <= width, (page.name, width)  # no wider than it
            drawn = "[...document.querySelectorAll('.chart > .plot')].every(e => e.closest('[hidden]') || {})"
            browser.until(drawn.format("e.querySelector('.main-svg')"))
            assert browser.errors == [], (page.name, width)
        light = browser.run("getComputedStyle(document.body).backgroundColor")
        assert (light == "rgb(255, 255, 255)") != dark


def test_runs_are_sorted_filtered_and_chosen(site, browser):
    browser.look(1280)
    browser.open((site / "runs.html").as_uri())
    assert len(browser.run(SHOWN)) == 6
    assert browser.run("document.querySelector('output').textContent") == "6 runs"
    typed = "field.value = '{}'; field.dispatchEvent(new Event('input'))"
    browser.run("field = document.querySelector('input[type=search]'); " + typed.format("decay=0.4 DIGITS"))
    assert browser.run(SHOWN) == ["method=stbp data=digits method.decay=0.4"] * 2
    assert browser.run("document.querySelector('output').textContent") == "2 of 6 runs"
    chosen = "mark.value = '{}'; mark.dispatchEvent(new Event('change'))"
    browser.run(typed.format(""))
    browser.run("mark = document.querySelector('select[data-key=mark]'); " + chosen.format("simulated"))
    assert [name.split()[1] for name in browser.run(SHOWN)] == ["data=mnist_dvs"]
    browser.run(chosen.format(""))
    accuracies = "[...document.querySelectorAll('tbody tr')].map(row => Number(row.cells[4].dataset.value))"
    head = "[...document.querySelectorAll('thead button')].find(each => each.textContent === 'test accuracy')"
    browser.run(f"{head}.click()")
    down = browser.run(accuracies)
    assert down == sorted(down, reverse=True) and down[0] == 0.61
    browser.run(f"{head}.click()")
    assert browser.run(accuracies) == down[::-1]
    assert browser.run("document.querySelector('[aria-sort]').getAttribute('aria-sort')") == "ascending"
    browser.run("[...document.querySelectorAll('td.choice input')].slice(0, 2).forEach(each => each.click())")
    assert browser.run("document.querySelector('.compare-bar a').textContent") == "Compare 2 runs"
    assert browser.run("document.querySelector('.compare-bar a').href.split('#')[1].split(',').length") == 2
    assert browser.errors == []


def test_runs_side_by_side(site, browser):
    browser.look(1280)
    browser.open((site / "compare.html").as_uri() + "#decays-d0.2_0,decays-d0.4_0,not-there")
    heads = "document.querySelectorAll('#side-by-side thead th').length === {}"
    cells = "row => [...row.cells].map(cell => cell.textContent)"
    rows = f"[...document.querySelectorAll('#side-by-side tbody tr')].map({cells})"
    browser.until(heads.format(2))
    lines = browser.run(rows)
    assert ["test accuracy", "0.5000", "0.6000"] in lines and ["method.decay", "default", "0.4"] in lines
    assert not any(line[0] == "trainer.max_epochs" for line in lines)
    assert browser.run("document.getElementById('message').textContent").startswith("1 of the runs asked for")
    browser.until("document.querySelectorAll('#curves-of-all .legend .traces').length === 2")
    browser.run("document.getElementById('same').click()")
    browser.until(f"{rows}.some(line => line[0] === 'trainer.max_epochs')")
    browser.run("field = document.getElementById('add')")
    browser.run("field.value = document.querySelectorAll('#every option')[5].value")
    browser.run("document.getElementById('add-button').click()")
    browser.until(heads.format(3))
    assert "window.evil" in browser.run("document.querySelector('#side-by-side thead').textContent")
    browser.run("document.querySelector('#side-by-side thead button').click()")
    browser.until(heads.format(2))
    assert browser.run("location.hash.includes('decays-d0.2_0')") is False
    assert browser.run("window.evil === undefined") and browser.errors == []
