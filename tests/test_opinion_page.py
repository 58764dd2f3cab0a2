"""The page of an opinion study in Chromium, opened from its folder as a rater would."""

import json

import pytest
import torch
from _chromium import Browser, find_chromium

from pspnb.measure.opinion import make_study, read_ratings, read_study
from pspnb.show.opinion import write_page

pytestmark = pytest.mark.pages

if find_chromium() is None:
    pytest.skip("expected chromium on the path (Debian: apt install chromium)", allow_module_level=True)


def test_a_rater_rates_saves_and_comes_back(tmp_path):
    grey = torch.linspace(-1, 1, 3).view(3, 1, 1, 1).expand(-1, 3, 8, 8)
    make_study(tmp_path, {"a": grey, "b": -grey}, worst=grey[:1], best=grey[1:])
    page = write_page(tmp_path).as_uri()

    def begin(browser, name):
        browser.evaluate(f"byId('rater').value = {name!r}; byId('begin').requestSubmit()")

    with Browser() as browser:
        browser.open(page)
        begin(browser, "A B")
        browser.evaluate("byId('scores').children[4].click()")
        browser.evaluate("document.dispatchEvent(new KeyboardEvent('keydown', { key: '2' }))")
        browser.evaluate("byId('back').click()")
        order = browser.evaluate("JSON.stringify(order)")
        assert browser.evaluate("byId('count').textContent") == "Picture 2 of 6"
        assert browser.evaluate("[...document.images].every((i) => i.complete && i.naturalWidth === 8)")
        browser.open(page)
        begin(browser, "A B")
        assert browser.evaluate("byId('count').textContent") == "Picture 2 of 6"
        assert browser.evaluate("JSON.stringify(order)") == order
        browser.evaluate("for (let k = 0; k < 5; k++) byId('scores').children[2].click()")
        assert "All rated" in browser.evaluate("byId('count').textContent")
        saved = browser.evaluate(
            "(() => { let made; const real = URL.createObjectURL; URL.createObjectURL = (b) => { made = b; return real(b); };"
            " byId('save').click(); return made.text(); })()"
        )
        assert not [e for e in browser.events if e["method"] == "Runtime.exceptionThrown"]
    (tmp_path / "scores.json").write_text(saved)
    found = read_ratings(tmp_path / "scores.json", read_study(tmp_path))
    assert found.rater == "A B" and sorted(found.scores.values()) == [3, 3, 3, 3, 3, 5]
    assert json.loads(saved)["simulated"] is False
