"""Shipped models by name and card, and downloads that are verified, continued and atomic."""

import hashlib
import http.server
import json
import os
import threading

import pytest
import torch
from _files import STYLE_DIM, tiny_generator, tiny_psp
from _golden import gauss, image
from safetensors.torch import save_file

import pspnb
from pspnb.errors import DownloadError, LoadError
from pspnb.files import download
from pspnb.models import zoo as hub
from pspnb.shipping import zoo_file

CHANNELS = {"4": 24, "8": 20, "16": 16, "32": 12}
GENERATOR = {"class": "Generator", "kwargs": {"size": 32, "style_dim": STYLE_DIM, "n_mlp": 3, "channels": CHANNELS}}
ENCODER = {
    "class": "GradualStyleEncoder",
    "kwargs": {"n_styles": 8, "style_dim": STYLE_DIM, "widths": [16, 16, 24, 32, 48], "units": [1, 2, 1, 1]}
    | {"input_size": 32},
}


@pytest.fixture
def zoo(tmp_path, monkeypatch):
    """An empty zoo; call it to ship tensors under a name."""
    monkeypatch.setattr(hub, "ZOO", tmp_path / "zoo")
    (tmp_path / "zoo").mkdir()

    def ship(name, tensors, architecture, **card):
        stem = hub.ZOO / name.replace("/", "_")
        halves = {k: v.half().contiguous() if v.is_floating_point() else v for k, v in tensors.items()}
        save_file(halves, f"{stem}.safetensors")
        digest = hashlib.sha256((hub.ZOO / f"{stem.name}.safetensors").read_bytes()).hexdigest()
        (hub.ZOO / f"{stem.name}.json").write_text(json.dumps({"architecture": architecture, "sha256": digest} | card))

    return ship


def _ship_generator(zoo):
    generator = tiny_generator()
    zoo("facets64/generator", generator.state_dict() | {"latent_avg": generator.latent_avg}, GENERATOR, title="G")
    return generator


def test_a_shipped_generator(zoo):
    original = _ship_generator(zoo)
    assert pspnb.available() == ["facets64/generator"]
    before = torch.get_rng_state()
    loaded = pspnb.load_generator("facets64/generator")
    assert torch.equal(torch.get_rng_state(), before)
    assert not loaded.training and loaded.input.input.dtype == torch.float32
    torch.testing.assert_close(loaded.latent_avg, original.latent_avg, rtol=1e-3, atol=1e-3)
    w = gauss("w", (1, STYLE_DIM))
    with torch.no_grad():
        difference = (loaded.synthesize(w) - original.synthesize(w)).abs().max()
    assert 0 < difference < 0.05  # half precision in the file


def test_a_shipped_model_built_on_another(zoo):
    """The generator is stored once; the model that uses it names it."""
    _ship_generator(zoo)
    psp = tiny_psp()
    tensors = {k: v for k, v in psp.state_dict().items() if not k.startswith("decoder.")}
    parts = {"encoder": ENCODER, "decoder": {"shipped": "facets64/generator"}}
    zoo("facets64/inversion", tensors, {"class": "PSP", "kwargs": parts})
    loaded = pspnb.load("facets64/inversion")
    shared = pspnb.load_generator("facets64/generator")
    torch.testing.assert_close(loaded.latent_avg, psp.latent_avg, rtol=1e-3, atol=1e-3)
    assert torch.equal(loaded.decoder.latent_avg, shared.latent_avg)
    with torch.no_grad():
        codes = loaded.encode(image("x", 3, 32, 32)[None])
        assert torch.equal(loaded.decode(codes), shared.synthesize(codes))


def test_names_with_underscores(zoo):
    zoo("facets64/identity_eval", tiny_generator().state_dict(), GENERATOR)
    assert pspnb.available() == ["facets64/identity_eval"]
    assert pspnb.load("facets64/identity_eval").size == 32


def test_damaged_or_wrong_weights_are_refused(zoo):
    _ship_generator(zoo)
    path = hub.ZOO / "facets64_generator.safetensors"
    data = bytearray(path.read_bytes())
    data[-1] ^= 1
    path.write_bytes(data)
    with pytest.raises(LoadError, match="damaged.*sha256"):
        pspnb.load("facets64/generator")
    zoo("facets64/generator", {"other": torch.ones(2)}, GENERATOR)
    with pytest.raises(LoadError, match="not the weights its card describes"):
        pspnb.load("facets64/generator")


def test_cards_name_known_classes_only(zoo):
    zoo("facets64/x", {"a": torch.ones(1)}, {"class": "system", "kwargs": {}})
    with pytest.raises(LoadError, match="the card names the class 'system'"):
        pspnb.load("facets64/x")
    (hub.ZOO / "facets64_x.json").write_text("{")
    with pytest.raises(LoadError, match="a damaged card"):
        pspnb.load("facets64/x")


def test_wrong_kinds_and_names(zoo):
    psp = tiny_psp()
    zoo("facets64/inversion", psp.state_dict(), {"class": "PSP", "kwargs": {"encoder": ENCODER, "decoder": GENERATOR}})
    assert torch.equal(
        pspnb.load_generator("facets64/inversion").conv1.conv.weight, psp.decoder.conv1.conv.weight.half()
    )
    zoo("facets64/encoder", psp.encoder.state_dict(), ENCODER)
    with pytest.raises(LoadError, match="expected a generator"):
        pspnb.load_generator("facets64/encoder")
    with pytest.raises(LoadError, match="cannot use the device 'tpu9'"):
        pspnb.load("facets64/inversion", device="tpu9")
    with pytest.raises(LoadError, match="there are facets64/encoder, facets64/inversion"):
        hub.card("facets64/none")


def test_everything_shipped_loads_and_says_where_it_comes_from():
    """The files of this repository; none are needed for the other tests."""
    for name in hub.available():
        card = hub.card(name)
        assert {"title", "data", "licence", "metrics", "sha256", "architecture"} <= set(card), name
        assert pspnb.load(name).training is False
        for path in hub.weight_files(name, parts=card.get("parts", 1)):
            assert path.stat().st_size <= 4_000_000


def test_large_weights_lie_in_several_files(zoo, monkeypatch):
    """They come back whole and in half precision; a part that is missing, damaged or of another model is refused."""
    monkeypatch.setattr(zoo_file, "MAX_BYTES", 60_000)
    original = tiny_generator()
    tensors = original.state_dict() | {"latent_avg": original.latent_avg}
    card = {"architecture": GENERATOR, "title": "G", "data": "none", "seed": 0, "steps": 0, "metrics": {}}
    first = zoo_file.ship("facets64/generator", tensors, card, folder=hub.ZOO)
    parts = sorted(hub.ZOO.glob("*.safetensors"))
    assert len(parts) == hub.card("facets64/generator")["parts"] > 1 and first in parts
    assert max(path.stat().st_size for path in parts) <= 60_000 and pspnb.available() == ["facets64/generator"]
    loaded = pspnb.load_generator("facets64/generator").state_dict()
    assert all(torch.equal(loaded[key], value.half().float()) for key, value in original.state_dict().items())

    last, whole = parts[0] if parts[0] != first else parts[1], {path: path.read_bytes() for path in parts}
    last.write_bytes(whole[last][:-1] + b"x")
    with pytest.raises(LoadError, match="damaged"):
        pspnb.load("facets64/generator")
    last.unlink()
    with pytest.raises(LoadError, match=rf"{last.name}: missing, facets64/generator has {len(parts)} files"):
        pspnb.load("facets64/generator")
    with pytest.raises(ValueError, match="at most .* bytes for a tensor of facets64/wide"):
        zoo_file.ship("facets64/wide", {"w": torch.zeros(40_000)}, card, folder=hub.ZOO)


# ---- downloads ----------------------------------------------------------------------------------------------------

BODY = bytes(range(256)) * 4000
DIGEST = hashlib.sha256(BODY).hexdigest()
QUOTA = (
    b"<!DOCTYPE html><html><title>Google Drive - Quota exceeded</title>Too many users have viewed or downloaded</html>"
)


class _Server(http.server.BaseHTTPRequestHandler):
    """Knows ranges; "/cut" breaks off after 300 kB of a whole request; "/quota" answers with a page."""

    requests: list[tuple[str, str | None]] = []

    def do_GET(self):
        asked = self.headers.get("Range")
        self.requests.append((self.path, asked))
        body = QUOTA if self.path == "/quota" else BODY
        start = int(asked.removeprefix("bytes=").rstrip("-")) if asked and self.path != "/noranges" else 0
        self.send_response(206 if start else 200)
        self.send_header("Content-Length", str(len(body) - start))
        self.end_headers()
        self.wfile.write(body[start : 300_000 if self.path == "/cut" and not start else None])

    def log_message(self, *_):
        pass


@pytest.fixture
def server(tmp_path, monkeypatch):
    monkeypatch.setenv("PSPNB_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    _Server.requests = []
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), _Server) as httpd:
        thread = threading.Thread(target=httpd.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield f"http://127.0.0.1:{httpd.server_port}"
        httpd.shutdown()
        thread.join()


def _cached():
    folder = download.cache_folder()
    return sorted(os.listdir(folder)) if folder.is_dir() else []


def test_a_download_is_kept_and_not_repeated(server):
    for _ in range(2):
        path = download.fetch(f"{server}/file", sha256=DIGEST, name="file.bin")
        assert path.read_bytes() == BODY
    assert len(_Server.requests) == 1 and _cached() == ["file.bin"]


@pytest.mark.parametrize("place", ["/cut", "/noranges"])
def test_an_interrupted_download_is_continued_where_the_server_can(server, place):
    if place == "/noranges":
        download.cache_folder().mkdir(parents=True)
        (download.cache_folder() / "file.bin.part").write_bytes(BODY[:1000])
    else:
        with pytest.raises(DownloadError, match="no download"):
            download.fetch(server + place, sha256=DIGEST, name="file.bin")
        assert _cached() == ["file.bin.part"]
    assert download.fetch(server + place, sha256=DIGEST, name="file.bin").read_bytes() == BODY
    asked = _Server.requests[-1][1]
    assert asked == "bytes=1000-" if place == "/noranges" else 100_000 < int(asked[6:-1]) <= 300_000
    assert _cached() == ["file.bin"]


def test_another_file_than_expected_is_not_kept(server):
    with pytest.raises(DownloadError, match="sha256 differs"):
        download.fetch(f"{server}/file", sha256="0" * 64, name="file.bin")
    assert _cached() == []


def test_a_changed_file_in_the_cache_is_fetched_again(server):
    path = download.fetch(f"{server}/file", sha256=DIGEST, name="file.bin")
    path.write_bytes(b"damaged")
    assert download.fetch(f"{server}/file", sha256=DIGEST, name="file.bin").read_bytes() == BODY


def test_a_quota_page_is_recognised(server):
    with pytest.raises(DownloadError, match="a Google Drive page: the download quota is exceeded"):
        download.fetch(f"{server}/quota", sha256=DIGEST, name="file.bin")
    assert _cached() == []


def test_without_a_connection(monkeypatch, tmp_path):
    monkeypatch.setenv("PSPNB_CACHE", str(tmp_path))
    monkeypatch.delenv("PSPNB_YUNET", raising=False)
    monkeypatch.setattr(download, "YUNET_URL", "http://127.0.0.1:9/yunet_n_dynamic.onnx")
    assert not download.yunet_is_here()
    with pytest.raises(DownloadError, match=r"expected a connection.*\$PSPNB_YUNET") as caught:
        download.yunet_file()
    assert "\n" not in str(caught.value)


def test_where_the_detector_comes_from(monkeypatch, tmp_path, fixtures_dir):
    fixture = fixtures_dir / "landmarks" / "yunet_n_dynamic.onnx"
    assert download.file_sha256(fixture) == download.YUNET_SHA256
    monkeypatch.setenv("PSPNB_CACHE", str(tmp_path))
    (tmp_path / "yunet_n_dynamic.onnx").write_bytes(fixture.read_bytes())
    monkeypatch.delenv("PSPNB_YUNET", raising=False)
    assert download.yunet_is_here()
    assert download.yunet_file() == tmp_path / "yunet_n_dynamic.onnx"  # verified, nothing fetched
    monkeypatch.setenv("PSPNB_YUNET", str(fixture))
    assert download.yunet_file() == fixture
    assert download.yunet_file(tmp_path / "yunet_n_dynamic.onnx") == tmp_path / "yunet_n_dynamic.onnx"
