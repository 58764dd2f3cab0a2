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

import numpy as np
import pytest
from _chromium import Browser, find_chromium
from PIL import Image

pytestmark = pytest.mark.pages

HTML = Path(__file__).parent.parent / "_build" / "html"
AXE = Path(__file__).parent / "vendor" / "axe.min.js"
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
# Pictures that wait until they are seen, and those of the other colour scheme, are loaded too.
LOAD = """Promise.all(Array.from(document.images, i => {
  i.loading = 'eager';
  return i.complete && i.naturalWidth ? 0 : new Promise(r => { i.onload = i.onerror = () => r(0); });
}))"""
WIDE_CODE = """Array.from(document.querySelectorAll('main pre'))
  .filter(e => e.checkVisibility() && e.scrollWidth > e.clientWidth + 1).map(e => e.textContent.slice(0, 80))"""
# Tables wider than the box around them, and whether that box can be scrolled.
WIDE_TABLES = """Array.from(document.querySelectorAll('main table')).filter(e => e.checkVisibility()).map(e => {
  const box = e.closest('.pst-scrollable-table-container') ?? e.parentElement;
  return [e.scrollWidth > box.clientWidth + 1, getComputedStyle(box).overflowX, e.textContent.trim().slice(0, 60)];
}).filter(([wide]) => wide)"""
SHOWN = """Array.from(document.querySelectorAll('main figure img, main .gallery img')).filter(e => e.checkVisibility())
  .map(e => ({src: decodeURI(e.getAttribute('src')), width: e.getBoundingClientRect().width}))"""
VIOLATIONS = """axe.run(document, {resultTypes: ['violations']}).then(found => found.violations.map(
  v => `${v.id}: ${v.nodes.length} times, such as ${v.nodes[0].html.slice(0, 200)}`))"""
SMALLEST = 48  # pixels of one picture in a grid, on a phone
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

    browser.evaluate(LOAD)
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


@pytest.mark.parametrize("page", PAGES)
def test_nothing_is_cut_or_tiny(browser, site, page):
    """At 1280 px no code scrolls sideways and every table fits; on a phone tables scroll, and pictures of a grid can be seen."""
    browser.open(site + page)
    assert browser.evaluate(WIDE_CODE) == []
    assert browser.evaluate(WIDE_TABLES) == []
    browser.resize(390, 844)
    try:
        browser.evaluate(LOAD)
        assert [text for _, overflow, text in browser.evaluate(WIDE_TABLES) if overflow not in ("auto", "scroll")] == []
        for picture in browser.evaluate(SHOWN):
            path = ((HTML / page).parent / picture["src"]).resolve()
            side = _tile(path) * picture["width"]
            assert side == 0 or side >= SMALLEST - 0.5, f"{path.name}: tiles of {side:.0f} px"
    finally:
        browser.resize(1280, 900)


def _tile(path: Path) -> float:
    """Side of one picture of a grid, as a share of the grid's width; 0 for what is no grid."""
    if path.name.startswith("gallery-"):
        with Image.open(path) as picture:
            return 208 / picture.width  # book/figures/_gallery.py: SIDE
    light = next(iter(path.parent.glob(re.sub(r"-dark\d+\.webp$", ".jp*g", path.name))), path)
    if light.suffix not in (".jpg", ".jpeg"):
        return 0.0
    with Image.open(light) as picture:
        comment = picture.info.get("comment", b"").decode("ascii", "replace")
        return int(comment.split(",")[2]) / picture.width if comment.startswith("tiles=") else 0.0


def test_there_are_grids_to_look_at():
    assert sum(_tile(path) > 0 for path in (HTML / "_images").iterdir()) > 20


@pytest.mark.parametrize("page", PAGES)
def test_axe_finds_nothing(browser, site, page):
    """Light and dark, on a desktop and on a phone. Nothing is excused."""
    assert AXE.is_file(), "expected axe-core in tests/vendor: run `make book`"
    try:
        for scheme in ("light", "dark"):
            browser.call("Emulation.setEmulatedMedia", features=[{"name": "prefers-color-scheme", "value": scheme}])
            browser.open(site + page)
            browser.evaluate(AXE.read_text(encoding="utf-8") + "; 0")
            for width in (1280, 390):
                browser.resize(width, 900)
                assert browser.evaluate("document.documentElement.dataset.theme") == scheme
                assert browser.evaluate(VIOLATIONS) == [], f"{scheme}, {width} px"
    finally:
        browser.call("Emulation.setEmulatedMedia", features=[])
        browser.resize(1280, 900)


def test_every_picture_of_a_figure_has_a_dark_version():
    """Paper becomes dark and portraits stay as they are: their pixels are compared."""
    for page in sorted((HTML / "notebooks").glob("*.html")):
        text = page.read_text(encoding="utf-8")
        assert len(re.findall(r"<img [^>]*only-dark [^>]*-dark", text)) == len(
            re.findall(r"<img [^>]*only-light [^>]*_images", text)
        )
    grids = [path for path in sorted((HTML / "_images").glob("*.jpg")) if _tile(path)]
    for path in grids[:4]:
        with Image.open(path) as light, Image.open(next(path.parent.glob(f"{path.stem}-dark*"))) as dark:
            a, b = (np.asarray(p.convert("RGB")).astype(int) for p in (light, dark))
            left, top, side, *_ = map(int, light.info["comment"].decode()[6:].split(","))
            tile = np.s_[top + 2 : top + side - 2, left + 2 : left + side - 2]
            white = a.min(axis=2) > 250
            if white[tile].mean() < 0.6:
                assert np.abs(a[tile] - b[tile]).mean() < 6
            assert b[:2].max() < 60 and white.any()


def test_the_landing_page_moves(browser, site):
    """Prepared frames answer at once, without a model; what is not there yet is not promised."""
    browser.open(site + "book/intro.html")
    ready = "document.querySelectorAll('.lab-hero canvas').length === 3"
    browser.evaluate(f"new Promise(r => {{ const f = () => {ready} ? r(true) : setTimeout(f, 50); f(); }})")
    browser.evaluate("document.querySelector('.lab-hero + .lab-group input').focus()")
    shown = "document.querySelectorAll('.lab-hero canvas')[2].dataset.shown"
    before = int(browser.evaluate(shown))
    browser.press("ArrowRight", 39)
    assert int(browser.evaluate(shown)) > before
    assert not [url for url in browser.requests() if url.endswith(".onnx") or "wasm" in url]
    top = browser.evaluate("document.querySelector('.lab-hero').getBoundingClientRect().bottom + window.scrollY")
    assert top < 900, "expected portrait, code and edit above the fold"


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
