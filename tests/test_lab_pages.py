"""The lab's pages in headless Chromium: every control moves a picture, which is torch's picture of the same code.

Small random networks stand in for the shipped ones, and the pages lie in a sub-path of a plain static host. Skipped visibly
where there is no Chromium or onnxruntime-web has not been fetched (`make book` does).
"""

import functools
import http.server
import shutil
import threading
from pathlib import Path

import numpy as np
import pytest
import torch
from _chromium import Browser, find_chromium
from _tiny import WIDTHS
from PIL import Image
from test_lab import small_generator

import pspnb
from pspnb.files.pictures import to_levels
from pspnb.models.psp import PSP
from pspnb.nn.encoders import GradualStyleEncoder
from pspnb.show import lab, lab_frames
from pspnb.transforms import one_hot

pytestmark = pytest.mark.pages

STATIC = Path(__file__).parent.parent / "book" / "_static"
RUNTIME = STATIC / "vendor" / "onnxruntime"
if find_chromium() is None:
    pytest.skip("expected chromium on the path (Debian: apt install chromium)", allow_module_level=True)
if not RUNTIME.is_dir():
    pytest.skip("expected onnxruntime-web in book/_static/vendor: run `make book` first", allow_module_level=True)

PAGE = """<!doctype html><html lang="en" data-theme="light"><head><meta charset="utf-8"><title>lab</title>
<meta name="viewport" content="width=device-width, initial-scale=1"><link rel="icon" href="data:,">
<link rel="stylesheet" href="../../_static/lab/lab.css"></head><body><main class="bd-article">
<div class="lab" data-page="{page}"><p>Loading</p></div></main>
<script src="../../_static/lab/start.js"></script></body></html>"""


class _Host(http.server.SimpleHTTPRequestHandler):
    """A static host; what is asked for with one of `broken` in its address is answered with 503."""

    broken: list[str] = []

    def log_message(self, *args):
        """Keep the test output clean."""

    def do_GET(self):
        if any(part in self.path for part in self.broken):
            self.send_error(503)
        else:
            super().do_GET()


def _networks() -> dict[str, torch.nn.Module]:
    generator = small_generator()
    models: dict[str, torch.nn.Module] = {"generator": generator, "factors": pspnb.load("world2/factors")}
    with torch.random.fork_rng():
        torch.manual_seed(1)
        for role, channels in (("inversion", 3), ("sketch", 1), ("segmentation", 19), ("super_resolution", 3)):
            encoder = GradualStyleEncoder(
                10, style_dim=16, in_channels=channels, input_size=64, units=(1, 1, 1, 1), widths=WIDTHS
            )
            models[role] = PSP(encoder, generator).eval().requires_grad_(False)
            for tensor in encoder.parameters():
                tensor.copy_(tensor.half().float())
    return models


@pytest.fixture(scope="module")
def site(tmp_path_factory):
    """(address of the pages, the networks behind them)"""
    root = tmp_path_factory.mktemp("host")
    book = root / "some" / "path"
    shutil.copytree(STATIC / "lab", book / "_static" / "lab", ignore=shutil.ignore_patterns("generated"))
    (book / "_static" / "vendor").mkdir()
    shutil.copytree(RUNTIME, book / "_static" / "vendor" / "onnxruntime")
    models = _networks()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(lab_frames, "SLIDERS", ("yaw", "hat"))
        patch.setattr(lab_frames, "N_PEOPLE", 2)
        patch.setattr(lab_frames, "N_QUIZ", 16)
        patch.setattr(lab_frames, "N_MAPS", 2)
        patch.setattr(lab_frames, "HERO_SLIDERS", ("yaw", "hat"))
        patch.setattr(lab_frames, "HERO_PEOPLE", (9, 5))
        lab.build(book / "_static" / "lab" / "generated", models)
    pages = book / "book" / "lab"
    pages.mkdir(parents=True)
    for page in (*lab.PAGES, "hero"):
        (pages / f"{page}.html").write_text(PAGE.format(page=page))
    handler = functools.partial(_Host, directory=str(root))
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}/some/path/book/lab/", models, pages
        server.shutdown()


@pytest.fixture(scope="module")
def browser():
    with Browser(timeout=60) as found:
        yield found


HELPERS = """
window.pictures = () => [...document.querySelectorAll('.lab canvas')].filter(c => c.picture).map(c => c.picture);
window.until = (what, limit = 40000) => new Promise((resolve, reject) => {
  const begun = performance.now();
  const look = () => {
    const found = what();
    if (found) resolve(found);
    else if (performance.now() - begun > limit) reject(new Error('waited for ' + what));
    else setTimeout(look, 20);
  };
  look();
});
window.named = (text) => [...document.querySelectorAll('.lab button, .lab-dialog button')].find(b => b.textContent.trim() === text);
window.message = () =>
  (document.querySelector('.lab-status span') ?? document.querySelector('.lab-notice'))?.textContent;
window.idle = () => until(() => document.querySelector('.lab').lab?.waiting.size === 0)
  .then(() => new Promise(r => setTimeout(r, 120))).then(() => document.querySelector('.lab').lab.waiting.size ? idle() : true);
window.drawn = () => pictures().filter(p => p.codes);
"""
# The label of every control, by the rules of HTML.
NAMELESS = """[...document.querySelectorAll('.lab :is(input, select, button, canvas, progress, meter)')].filter(e =>
  !(e.labels?.length && e.labels[0].textContent.trim()) && !e.getAttribute('aria-label') && !e.textContent.trim()
  && e.getAttribute('aria-hidden') !== 'true').map(e => e.outerHTML)"""
OVERFLOW = "document.documentElement.scrollWidth - document.documentElement.clientWidth"


def _open(browser, site, page, ready="drawn().length && drawn().every(p => p.pixels)"):
    browser.open(f"{site[0]}{page}.html")
    browser.evaluate(HELPERS)
    browser.evaluate(f"until(() => {ready}).then(idle)")


def _clean(browser):
    assert browser.errors() == []
    assert browser.foreign_requests() == []
    assert browser.failed_requests() == []


def _pixels(browser, which):
    """Levels (3, 64, 64) that a picture shows."""
    rgba = np.array(browser.evaluate(f"Array.from(({which}).pixels)"), dtype=int)
    return torch.tensor(rgba.reshape(64, 64, 4)[..., :3]).permute(2, 0, 1)


def _codes(browser, which):
    return torch.tensor(browser.evaluate(f"Array.from(({which}).codes)")).reshape(1, 10, 16)


def _levels_of(generator, codes):
    return ((generator.synthesize(codes)[0] + 1) * 127.5).round().clamp(0, 255)


def _equal(browser, generator, which):
    """What is shown is what torch draws of the codes; half a level of difference may round to one."""
    shown, wanted = _pixels(browser, which), _levels_of(generator, _codes(browser, which))
    assert (shown - wanted).abs().max() <= 1
    assert ((shown - wanted).abs() > 0).float().mean() < 0.01


def _move(browser, selector):
    """Move each control of this kind to another end and back: how many there are, and those that changed no drawn picture."""
    script = f"""(async () => {{
      const still = [];
      for (const control of document.querySelectorAll('{selector}')) {{
        if (control.closest('details')) control.closest('details').open = true;
        const before = drawn().map(p => p.data);
        const slider = control.type === 'range';
        const ends = slider ? [control.max, control.min] : [control.options.length - 1, 0].map(String);
        const own = control.value;
        const put = (value) => {{
          control.value = value;
          control.dispatchEvent(new Event(slider ? 'input' : 'change', {{ bubbles: true }}));
        }};
        put(own === ends[0] ? ends[1] : ends[0]);
        const other = () => drawn().some((p, i) => p.data.some((v, k) => v !== before[i][k]));
        await until(other, 8000).catch(() => still.push(control.labels[0].textContent));
        put(own);
        await idle();
      }}
      return [document.querySelectorAll('{selector}').length, still];
    }})()"""
    return browser.evaluate(script)


# ---- the pages -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("page", list(lab.PAGES))
def test_page_opens_and_every_control_has_a_name(browser, site, page):
    ready = "document.querySelectorAll('.lab canvas').length && message() === ''"
    _open(browser, site, page, ready)
    _clean(browser)
    assert browser.evaluate(NAMELESS) == []
    browser.resize(390, 844)
    try:
        assert browser.evaluate(OVERFLOW) <= 0
    finally:
        browser.resize(1280, 900)


def test_mix(browser, site):
    generator = site[1]["generator"]
    _open(browser, site, "mix", "drawn().length === 3")
    a, b, result = "drawn()[0]", "drawn()[2]", "drawn()[1]"
    for picture in (a, b):
        factors = browser.evaluate(f"({picture}).factors")
        assert len(factors) == len(lab.TABLE)
        named = {
            f.name: torch.tensor([factors[f.name]], dtype=torch.float32 if f.kind == "continuous" else torch.int64)
            for f in lab.TABLE
        }
        w = generator.to_w_plus(generator.map_factors(named))
        assert torch.allclose(_codes(browser, picture), w, atol=1e-4)
        _equal(browser, generator, picture)
    _equal(browser, generator, result)
    assert torch.equal(_codes(browser, result)[:, :7], _codes(browser, a)[:, :7])
    assert torch.allclose(_codes(browser, result)[:, 7:], _codes(browser, b)[:, 7:], atol=1e-6)
    count, still = _move(browser, '.lab-group input[type="range"], .lab-folded .lab-slider:first-child input')
    assert count >= 5 and still == []
    person = browser.evaluate(f"JSON.stringify(({a}).factors)")
    browser.evaluate("named('New person').click()")
    browser.evaluate(f"until(() => JSON.stringify(({a}).factors) !== {person!r}).then(() => true)")
    browser.evaluate("named('Half and half').click()")
    half = f"Math.abs(({result}).codes[0] - (({a}).codes[0] + ({b}).codes[0]) / 2) < 1e-5"

    alpha = "[...document.querySelectorAll('label')].find(l => l.textContent.startsWith('Alpha')).control"
    browser.evaluate(f"{alpha}.value = 1; {alpha}.dispatchEvent(new Event('input'))")
    browser.evaluate(f"until(() => {half}).then(() => true)")
    _equal(browser, generator, result)
    _clean(browser)


def test_edit(browser, site):
    generator = site[1]["generator"]
    _open(browser, site, "edit", "drawn().length === 2")
    count, still = _move(browser, ".lab-columns :is(input, select)")
    assert count > 25 and still == []
    yaw = "[...document.querySelectorAll('.lab label')].find(l => l.textContent === 'Turn').control"
    browser.evaluate(f"{yaw}.value = -40; {yaw}.dispatchEvent(new Event('input'))")
    browser.evaluate(
        "until(() => drawn()[1].codes.some((v, i) => Math.abs(v - drawn()[0].codes[i]) > 1e-3)).then(idle)"
    )
    count, still = _move(browser, '.lab > .lab-group input[type="range"]')  # the strength of what was changed
    assert (count, still) == (1, [])
    _equal(browser, generator, "drawn()[1]")
    browser.evaluate("[...document.querySelectorAll('.lab summary')].at(-1).click()")
    browser.evaluate("until(() => document.querySelectorAll('.lab-bar').length === 7).then(() => true)")
    browser.evaluate("named('Back to before').click()")
    same = "drawn()[1].codes.every((v, i) => Math.abs(v - drawn()[0].codes[i]) < 1e-5)"
    browser.evaluate(f"until(() => {same}).then(() => true)")
    _clean(browser)


def test_a_key_moves_a_slider(browser, site):
    _open(browser, site, "mix", "drawn().length === 3")
    browser.evaluate("window.before = drawn()[1].data; document.querySelector('.lab-group input').focus()")
    for _ in range(5):
        browser.press("ArrowRight", 39)
    browser.evaluate("until(() => drawn()[1].data !== before).then(() => true)")


def test_teacher_and_student(browser, site):
    _open(browser, site, "teacher", "pictures().every(p => p.pixels)")
    generator = site[1]["generator"]
    yaw = [s for s in lab_frames._values("yaw")]
    factors = lab.edit(lab.sample_factors("test", [0]), yaw=yaw[4])
    assert torch.equal(
        _pixels(browser, "pictures()[1]").float(),
        _levels_of(generator, generator.to_w_plus(generator.map_factors(factors))),
    )
    before = [_pixels(browser, f"pictures()[{i}]") for i in range(3)]
    assert torch.equal(before[2], ((before[0] - before[1]).abs() * 3).clamp(max=255))
    browser.evaluate("document.querySelector('.lab input').focus()")
    browser.press("ArrowRight", 39)
    assert all(not torch.equal(_pixels(browser, f"pictures()[{i}]"), before[i]) for i in range(3))
    browser.evaluate("named('Person 2').click()")
    browser.evaluate("until(() => message() === '').then(() => true)")
    _clean(browser)


def test_hero_shows_frames_and_then_the_generator(browser, site):
    generator = site[1]["generator"]
    still = [{"name": "prefers-reduced-motion", "value": "reduce"}]  # nothing moves by itself
    browser.call("Emulation.setEmulatedMedia", features=still)
    _open(browser, site, "hero", "pictures().length === 2 && pictures().every(p => p.pixels)")
    person = lab.edit(lab.sample_factors("test", [9]), **lab_frames.PLAIN, yaw=0.0)
    assert torch.equal(_pixels(browser, "pictures()[0]"), to_levels(lab_frames.render(person, 64).image)[0].long())
    browser.evaluate("document.querySelector('.lab-hero + .lab-group input').focus()")
    browser.press("ArrowRight", 39)
    turned = generator.map_factors(lab.edit(person, yaw=10.0))
    code = torch.tensor(browser.evaluate("Array.from(document.querySelectorAll('.lab-hero canvas')[1].code)"))
    assert (code - turned[0].clamp(-3, 3)).abs().max() < 0.05  # as levels of a picture: 42 a unit, three units each way
    assert torch.equal(_pixels(browser, "pictures()[1]").float(), _levels_of(generator, generator.to_w_plus(turned)))
    assert not any(url.endswith(".onnx") for url in browser.requests())
    browser.evaluate(
        "[...document.querySelectorAll('.lab button')].find(b => b.textContent.startsWith('Move several')).click()"
    )
    browser.evaluate("until(() => drawn().length === 1).then(idle)")
    _equal(browser, generator, "drawn()[0]")
    count, still = _move(browser, ".lab-hero + .lab-group :is(input, select)")
    assert (count, still) == (2, [])
    browser.evaluate("named('Person 2').click()")
    browser.evaluate("idle()")
    _clean(browser)
    browser.call("Emulation.setEmulatedMedia", features=[])


def test_quiz_keeps_the_score(browser, site):
    _open(browser, site, "quiz", "pictures()[0].pixels")
    right = 0
    for i in range(16):
        browser.evaluate("document.dispatchEvent(new KeyboardEvent('keydown', { key: 'r', bubbles: true }))")
        verdict = browser.evaluate("document.querySelector('.lab-verdict').textContent")
        assert verdict in ("Right: it was the renderer’s.", "Wrong: it was the network’s.")
        right += verdict.startswith("Right")
        score = browser.evaluate("document.querySelector('.lab-center + .lab-fine').textContent")
        assert score.startswith(f"{right} of {i + 1} right; 95 % interval")
        browser.evaluate(f"named('{'Next picture' if i < 15 else 'Play again'}').click()")
    assert "Picture 1 of 16" in browser.evaluate("document.querySelector('.lab figcaption').textContent")
    _clean(browser)


# ---- the pages that wait for their models ---------------------------------------------------------------------------------


def _stroke(browser, places):
    """Press, drag and release a pointer on the pad, in shares of its side."""
    box = browser.evaluate(
        "(() => { const b = document.querySelector('.lab-pad').getBoundingClientRect(); return [b.left, b.top, b.width]; })()"
    )
    for i, (x, y) in enumerate(places):
        kind = "mousePressed" if i == 0 else "mouseReleased" if i == len(places) - 1 else "mouseMoved"
        at = {"x": box[0] + x * box[2], "y": box[1] + y * box[2]}
        browser.call("Input.dispatchMouseEvent", type=kind, button="left", buttons=1, clickCount=1, **at)


CELLS = "Array.from(document.querySelector('.lab-pad').pad.cells)"


def test_draw(browser, site):
    _open(browser, site, "draw", "drawn().length && drawn()[0].codes")
    before, face = browser.evaluate(CELLS), browser.evaluate("Array.from(drawn()[0].codes)")
    _stroke(browser, [(0.1, 0.1), (0.5, 0.3), (0.9, 0.9), (0.9, 0.9)])
    cells = np.array(browser.evaluate(CELLS)).reshape(256, 256)
    assert cells[26, 26] == cells[77, 128] == 40 and (cells != np.array(before).reshape(256, 256)).sum() > 500
    browser.evaluate(f"until(() => drawn()[0].codes.some((v, i) => Math.abs(v - {face}[i]) > 1e-6)).then(() => true)")
    browser.evaluate("idle()")
    sketch = torch.tensor(cells / 255.0).float().reshape(1, 1, 64, 4, 64, 4).mean(dim=(3, 5))
    assert torch.allclose(_codes(browser, "drawn()[0]"), site[1]["sketch"].encode(sketch), atol=1e-4)
    _equal(browser, site[1]["generator"], "drawn()[0]")
    browser.evaluate("named('Undo').click()")
    assert browser.evaluate(CELLS) == before
    browser.evaluate("named('Redo').click()")
    assert browser.evaluate(CELLS) == cells.flatten().tolist()
    _clean(browser)


def test_labels(browser, site):
    _open(browser, site, "labels", "drawn().length")
    browser.evaluate(
        "[...document.querySelectorAll('.lab-swatches button')].find(b => b.textContent === 'hat').click()"
    )
    browser.evaluate("window.before = drawn()[0].data")
    _stroke(browser, [(0.3, 0.1), (0.7, 0.1), (0.7, 0.1)])
    browser.evaluate("until(() => drawn()[0].data !== before).then(idle)")
    cells = torch.tensor(browser.evaluate(CELLS)).reshape(1, 64, 64)
    assert (cells == 14).sum() > 60
    wanted = site[1]["segmentation"].encode(one_hot(cells, 19))
    assert torch.allclose(_codes(browser, "drawn()[0]"), wanted, atol=1e-4)
    _clean(browser)


def test_zoom(browser, site):
    _open(browser, site, "zoom", "drawn().length === 5")
    assert browser.evaluate("new Set(drawn()[0].pixels).size") > 20
    browser.evaluate("named('× 32').click()")
    browser.evaluate(
        "until(() => pictures().find(p => !p.smooth).canvas.ariaLabel.startsWith('2 × 2')).then(() => true)"
    )
    small = _pixels(browser, "pictures().find(p => !p.smooth)")
    assert len(torch.unique(small.flatten(1), dim=1).T) <= 4
    _equal(browser, site[1]["generator"], "drawn()[3]")
    _clean(browser)


# ---- a picture of the reader's own -----------------------------------------------------------------------------------------


def _upload(browser, path):
    document = browser.call("DOM.getDocument")["root"]["nodeId"]
    node = browser.call("DOM.querySelector", nodeId=document, selector=".lab-file")["nodeId"]
    browser.call("DOM.setFileInputFiles", nodeId=node, files=[str(path)])


def test_upload(browser, site, tmp_path):
    model = site[1]["inversion"]
    _open(browser, site, "mix", "drawn().length === 3")
    picture = np.random.default_rng(0).integers(0, 255, (64, 64, 3)).astype(np.uint8)
    Image.fromarray(picture).save(tmp_path / "own.png")
    requests = len(browser.requests())
    _upload(browser, tmp_path / "own.png")
    browser.evaluate("until(() => document.querySelector('dialog[open]')).then(() => true)")
    browser.evaluate("window.before = drawn()[0].codes; named('Use this square').click()")
    browser.evaluate("until(() => drawn()[0].codes !== before).then(() => true)")
    wanted = model.encode(torch.tensor(picture).permute(2, 0, 1)[None].float() / 127.5 - 1)
    assert torch.allclose(_codes(browser, "drawn()[0]"), wanted, atol=1e-3)
    later = [url for url in browser.requests()[requests:] if not url.startswith("blob:")]
    assert all("inversion" in url for url in later), "expected no request but the encoder's own file"
    _clean(browser)


def test_uploads_that_cannot_be_used_get_one_sentence(browser, site, tmp_path):
    _open(browser, site, "mix", "drawn().length === 3")
    (tmp_path / "broken.png").write_bytes(b"\x89PNG\r\n\x1a\nnonsense")
    _upload(browser, tmp_path / "broken.png")
    browser.evaluate("until(() => message().includes('“broken.png” is not a picture')).then(() => true)")
    Image.new("1", (8000, 5000)).save(tmp_path / "large.png")
    _upload(browser, tmp_path / "large.png")
    browser.evaluate("until(() => message().startsWith('This picture has 40 megapixels')).then(() => true)")
    assert not browser.evaluate("document.querySelector('dialog[open]') !== null")
    _clean(browser)


# ---- what can be missing ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("part", "named"), [("models/synthesis", "the generator"), (".wasm.gz", "the runtime")])
def test_a_failed_download_says_so_and_is_tried_again(browser, site, part, named):
    browser.open(f"{site[0]}mix.html")
    browser.evaluate("caches.delete('pspnb-lab-1')")
    browser.call("Network.clearBrowserCache")
    _Host.broken.append(part)
    try:
        browser.open(f"{site[0]}mix.html")
        browser.evaluate(HELPERS)
        browser.evaluate(f"until(() => message()?.startsWith('Could not load {named}')).then(() => true)")
    finally:
        _Host.broken.clear()
    browser.evaluate("named('Try again').click()")
    browser.evaluate("until(() => drawn().length).then(() => true)")
    assert browser.evaluate("message()") == ""


def test_models_are_kept(browser, site):
    """A second visit downloads neither the runtime nor the models."""
    _open(browser, site, "mix", "drawn().length === 3")
    kept = browser.evaluate("caches.open('pspnb-lab-1').then(c => c.keys()).then(k => k.map(r => r.url))")
    assert sum(".onnx" in url for url in kept) >= 2 and any(".wasm.gz" in url for url in kept)
    _Host.broken.extend([".onnx", ".wasm"])
    try:
        _open(browser, site, "mix", "drawn().length === 3")
    finally:
        _Host.broken.clear()
    _clean(browser)


def test_without_webassembly_a_sentence(browser, site):
    identifier = browser.call("Page.addScriptToEvaluateOnNewDocument", source="delete window.WebAssembly")["identifier"]
    try:
        browser.open(f"{site[0]}mix.html")
        assert "needs WebAssembly with SIMD" in browser.evaluate("document.querySelector('[role=alert]').textContent")
    finally:
        browser.call("Page.removeScriptToEvaluateOnNewDocument", identifier=identifier)
    assert browser.errors() == []


def test_opened_as_a_file_it_says_what_to_do(browser, site):
    browser.open((site[2] / "mix.html").as_uri())
    assert "python -m http.server" in browser.evaluate("document.querySelector('[role=alert]').textContent")
    assert browser.errors() == []
