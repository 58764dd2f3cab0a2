"""Every page of the built book, opened in a headless Chromium that can reach nothing but this machine.

Skipped visibly where there is no Chromium or no built book (`make book` builds it).
"""

import functools
import http.server
import json
import re
import threading
from pathlib import Path
from urllib.parse import unquote

import pytest
from _chromium import Browser, find_chromium

pytestmark = pytest.mark.pages

HTML = Path(__file__).parent.parent / "_build" / "html"
PAGES = sorted(str(p.relative_to(HTML)) for folder in ("book", "notebooks") for p in (HTML / folder).rglob("*.html"))
PAGES += [name for name in ("genindex.html", "search.html") if (HTML / name).is_file()]

if find_chromium() is None:
    pytest.skip("expected chromium on the path (Debian: apt install chromium)", allow_module_level=True)
if not PAGES:
    pytest.skip("expected a built book in _build/html: run `make book` first", allow_module_level=True)

PICTURES = (
    "Array.from(document.querySelectorAll('img'), i => ({alt: i.alt, src: i.getAttribute('src'), w: i.naturalWidth}))"
)
MATHS = "[document.querySelectorAll('.math').length, document.querySelectorAll('mjx-container').length]"
UNFILLED = "Array.from(document.querySelectorAll('main :is(p, td, li)')).some(e => /{{ ?\\w+ ?}}/.test(e.innerText))"
OVERFLOW = "document.documentElement.scrollWidth - document.documentElement.clientWidth"


class _Quiet(http.server.SimpleHTTPRequestHandler):
    def log_message(self, *args):
        """Keep the test output clean."""


@pytest.fixture(scope="module")
def site():
    handler = functools.partial(_Quiet, directory=str(HTML))
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}/"
        server.shutdown()


@pytest.fixture(scope="module")
def browser():
    with Browser() as found:
        yield found


@pytest.mark.parametrize("page", PAGES)
def test_page(browser, site, page):
    browser.open(site + page)
    assert browser.errors() == []
    assert browser.foreign_requests() == []
    assert browser.failed_requests() == []
    source = (HTML / page).read_text(encoding="utf-8")

    for picture in browser.evaluate(PICTURES):
        what = f"{picture['src'][:80]!r} in {page}"
        assert picture["w"] > 0, f"expected {what} to load"
        alt = picture["alt"].strip()
        assert len(alt) > 3 and not re.search(r"_images/|\.(png|svg|jpe?g)$", alt), f"expected a description for {what}"

    written, rendered = browser.evaluate(MATHS)
    assert (rendered >= written) if 'class="math' in source else rendered == 0
    assert "MathJax" not in source or not browser.evaluate("document.querySelector('mjx-merror') !== null")
    assert not browser.evaluate(UNFILLED), "a substitution was not filled in"

    # On a phone, wide tables and code scroll inside their own box, never the whole page.
    browser.resize(390, 844)
    try:
        assert browser.evaluate(OVERFLOW) <= 0
    finally:
        browser.resize(1280, 900)


def test_index_leads_to_the_first_page(browser, site):
    browser.open(site + "index.html")
    assert browser.evaluate("location.pathname") == "/book/intro.html"


def _pages_with_sliders() -> list[str]:
    return [page for page in PAGES if '"IntSliderModel"' in (HTML / page).read_text(encoding="utf-8")]


def test_some_page_has_a_slider():
    assert _pages_with_sliders(), "expected at least one page with a slider"


@pytest.mark.parametrize("page", _pages_with_sliders())
def test_moving_a_slider_changes_its_picture(browser, site, page):
    browser.open(site + page)
    expected = (HTML / page).read_text(encoding="utf-8").count('"model_name": "IntSliderModel"')
    handles = "Array.from(document.querySelectorAll('.noUi-handle'))"
    shown = "Array.from(document.querySelectorAll('img.frame')).filter(i => i.checkVisibility()).map(i => i.src)"
    assert browser.evaluate(f"{handles}.length") == expected
    assert all(browser.evaluate(f"{handles}.map(h => h.getAttribute('aria-label') || '')")), "expected named handles"
    for number in range(expected):
        before = browser.evaluate(shown)
        browser.evaluate(f"{handles}[{number}].focus()")
        at_start = browser.evaluate(f"{handles}[{number}].getAttribute('aria-valuenow')")
        browser.press("ArrowRight", 39)
        browser.evaluate("new Promise(r => setTimeout(r, 200))")
        assert browser.evaluate(f"{handles}[{number}].getAttribute('aria-valuenow')") != at_start
        after = browser.evaluate(shown)
        assert len(after) == len(before) and sum(a != b for a, b in zip(after, before, strict=True)) == 1


def test_links_inside_the_book_lead_somewhere(browser, site):
    """Every link to a page of the book points at a file, and at an element with that id where it names one."""
    for page in PAGES:
        text = (HTML / page).read_text(encoding="utf-8")
        for target in set(re.findall(r'<a[^>]*href="([^"]+)"', text)):
            if re.match(r"[a-z]+:|//", target):
                continue
            name, _, anchor = unquote(target).partition("#")
            path = ((HTML / page).parent / name).resolve() if name else HTML / page
            assert path.is_file(), f"{page} links to {target}"
            if anchor and path.suffix == ".html":
                linked = path.read_text(encoding="utf-8")
                assert f'id="{anchor}"' in linked or f'name="{anchor}"' in linked, f"{page} links to {target}"


def test_the_lab_shows_the_pages_that_have_their_models():
    about = json.loads((HTML / "_static" / "lab" / "generated" / "lab.json").read_text(encoding="utf-8"))
    assert {path.stem for path in (HTML / "book" / "lab").glob("*.html")} == set(about["pages"])


# ---- the tests can fail ------------------------------------------------------------------------------------------------


def test_the_browser_reports_what_it_should(browser, site):
    """A page that asks a foreign host, misses a file and throws is caught at each of the three."""
    page = HTML / "test-of-the-tests.html"
    page.write_text(
        '<script src="https://example.org/x.js"></script><img src="missing.png"><script>undefinedFunction()</script>'
    )
    try:
        browser.open(site + page.name)
        assert browser.foreign_requests() == ["https://example.org/x.js"]
        assert [f.split()[0] for f in browser.failed_requests() if "missing" in f] == ["404"]
        assert any("undefinedFunction" in text for text in browser.errors())
        answered = [e["params"]["response"]["url"] for e in browser.events if e["method"] == "Network.responseReceived"]
        assert not any("example.org" in url for url in answered)
    finally:
        page.unlink()
