"""book/use.md runs as it stands: its Python blocks one after the other, its commands by their options."""

import re
import shlex
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from _files import psp_content, tiny_psp
from PIL import Image

from pspnb.align import Face, FaceDetector

PAGE = Path(__file__).parent.parent / "book" / "use.md"


def _blocks(language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```", PAGE.read_text(encoding="utf-8"), re.S | re.M)


class _Detector(FaceDetector):
    """Finds one face, upright where the dark corner of the photograph is the upper left one."""

    def __init__(self, *_):
        pass

    def detect(self, image):
        if image.convert("L").getpixel((5, 5)) > 40:
            return []
        points = np.array([[120.0, 130.0], [180.0, 130.0], [150.0, 165.0], [125.0, 195.0], [175.0, 195.0]])
        return [Face(box=(90.0, 80.0, 120.0, 150.0), landmarks=points, score=0.95)]


def test_the_code_of_the_page_runs_as_it_stands(tmp_path, monkeypatch):
    pytest.importorskip("onnxruntime")
    psp = tiny_psp()
    torch.save(psp_content(psp), tmp_path / "psp_ffhq_encode.pt")
    photo = np.random.default_rng(0).integers(80, 255, (300, 300, 3)).astype(np.uint8)
    photo[:40, :40] = 0
    Image.fromarray(photo).save(tmp_path / "photo.jpg")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("pspnb.align.FaceDetector", _Detector)
    names: dict = {}
    for block in _blocks("python"):
        exec(compile(block, str(PAGE), "exec"), names)
    x = names["x"]
    with torch.no_grad():
        codes = psp.encode(x)
        assert torch.allclose(names["inverted"], psp.decode(codes), atol=1e-4)
        edited = psp.decode(codes + 2 * names["change"].vector)
        assert torch.allclose(names["edited"], edited, atol=1e-4) and not torch.allclose(
            edited, names["inverted"], atol=0.01
        )
        assert torch.allclose(names["several"][:1], psp(x), atol=1e-4)
        assert torch.allclose(names["faster"], names["several"], atol=1e-3)
        assert torch.allclose(names["rough"].cpu(), psp(x), atol=0.5)
    assert np.abs(names["picture"] - psp(x).detach().numpy()).max() < 0.05
    for name in ("inverted", "edited"):
        with Image.open(tmp_path / f"{name}.png") as picture:
            assert picture.size == (32, 32)


def test_its_commands_have_the_options_they_use():
    lines = [line for block in _blocks("bash") for line in block.replace("\\\n", " ").splitlines()]
    commands = [shlex.split(line, comments=True) for line in lines if line.startswith("pspnb")]
    assert len(commands) > 5
    for words in commands:
        shown = subprocess.run(
            [sys.executable, "-m", "pspnb.cli", words[1], "--help"],
            capture_output=True, text=True, timeout=60, env={"COLUMNS": "200", "PATH": ""},
        ).stdout  # fmt: skip
        assert shown, f"expected help for {words[1]}"
        assert [w for w in words[2:] if w.startswith("--") and w not in shown] == []
