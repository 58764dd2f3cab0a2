"""The command line as a stranger uses it: folders in, folders out, one line for a mistake, the right exit code."""

import json
import os
import resource
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import torch
from _files import STYLE_DIM, psp_content, tiny_psp
from _golden import gauss, image, uint8_image
from PIL import Image
from safetensors.torch import load_file, save_file

import pspnb
from pspnb import cli
from pspnb.transforms import image_tensor, to_uint8


@pytest.fixture(scope="module")
def models(tmp_path_factory):
    """Checkpoints of a 3-channel, a sketch and a label-map model."""
    folder = tmp_path_factory.mktemp("models")
    for name, channels in (("photo", 3), ("sketch", 1), ("labels", 19), ("odd", 5)):
        torch.save(psp_content(tiny_psp(in_channels=channels)), folder / f"{name}.pt")
    return folder


@pytest.fixture
def photos(tmp_path):
    """Seven pictures of several kinds in two levels of folders."""
    root = tmp_path / "photos"
    (root / "sub").mkdir(parents=True)
    names = ["a.png", "b.jpg", "c.webp", "sub/a.png", "sub/d.jpeg", "a.jpg", "e.png"]
    for i, name in enumerate(names):
        Image.fromarray(uint8_image(f"photo{i}", 40 + i, 40 + i, 3)).save(root / name)
    return root


def _files(folder):
    return sorted(str(p.relative_to(folder)) for p in folder.rglob("*") if p.is_file())


NAMES = ["a_jpg", "a_png", "b", "c", "e", "sub/a", "sub/d"]


# ---- translate ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("batch_size", [1, 3, 8])
def test_a_folder_with_its_last_incomplete_batch(pspnb_command, models, photos, tmp_path, batch_size):
    out = tmp_path / "out"
    arguments = ("translate", "--model", models / "photo.pt", "--input", photos, "--output", out, "--device", "cpu")
    code, lines, errors = pspnb_command(*arguments, "--batch-size", batch_size)
    assert (code, lines, errors) == (0, ["7 written"], [])
    assert _files(out) == [f"{name}.png" for name in NAMES]
    psp = pspnb.load(models / "photo.pt")
    with torch.no_grad():
        expected = to_uint8(psp(image_tensor(np.asarray(Image.open(photos / "sub/a.png")), 32)[None])[0])
    assert abs(np.asarray(Image.open(out / "sub/a.png")).astype(int) - expected).max() <= 1


@pytest.mark.parametrize("kind", ["png", "jpg", "webp"])
def test_one_image_and_output_formats(pspnb_command, models, photos, tmp_path, kind):
    out = tmp_path / "deep" / "out"
    code, *_ = pspnb_command(
        "translate", "--model", models / "photo.pt", "--input", photos / "b.jpg", "--output", out, "--format", kind
    )
    assert code == 0 and _files(out) == [f"b.{kind}"]
    assert Image.open(out / f"b.{kind}").size == (32, 32)


def test_existing_outputs_are_kept_unless_told(pspnb_command, models, photos, tmp_path):
    out = tmp_path / "out"
    arguments = ("translate", "--model", models / "photo.pt", "--input", photos, "--output", out)
    pspnb_command(*arguments)
    first = (out / "b.png").read_bytes()
    (out / "b.png").write_bytes(b"mine")
    (out / "c.png").unlink()
    code, lines, _ = pspnb_command(*arguments)
    assert code == 0 and lines == ["1 written, 6 kept (they exist; --overwrite replaces them)"]
    assert (out / "b.png").read_bytes() == b"mine"
    assert pspnb_command(*arguments, "--overwrite")[:2] == (0, ["7 written"])
    assert (out / "b.png").read_bytes() == first


def test_results_below_the_input_folder_are_not_inputs(pspnb_command, models, photos):
    arguments = ("translate", "--model", models / "photo.pt", "--input", photos, "--output", photos / "out")
    for _ in range(2):
        code, *_ = pspnb_command(*arguments, "--overwrite")
        assert code == 0 and len(_files(photos / "out")) == 7


def test_inputs_are_never_replaced(pspnb_command, models, photos):
    before = (photos / "e.png").read_bytes()
    code, _, errors = pspnb_command(
        "translate", "--model", models / "photo.pt", "--input", photos, "--output", photos, "--overwrite"
    )
    assert code == 2 and len(errors) == 1 and "expected another folder for the results" in errors[0]
    code, _, errors = pspnb_command(
        "translate", "--model", models / "photo.pt", "--input", photos / "e.png", "--output", photos, "--overwrite"
    )
    assert code == 2 and len(errors) == 1 and "e.png: would replace an input" in errors[0]
    assert (photos / "e.png").read_bytes() == before


def test_sketches_and_label_maps_are_prepared_for_their_task(pspnb_command, models, tmp_path):
    psp = pspnb.load(models / "labels.pt")
    labels = (np.arange(64 * 64).reshape(64, 64) // 216 % 19).astype(np.uint8)
    Image.fromarray(labels).save(tmp_path / "map.png")
    code, *_ = pspnb_command(
        "translate", "--model", models / "labels.pt", "--input", tmp_path / "map.png", "--output", tmp_path / "out"
    )
    planes = torch.nn.functional.one_hot(torch.from_numpy(labels[1::2, 1::2]).long(), 19).permute(2, 0, 1)[None].float()
    with torch.no_grad():
        expected = to_uint8(psp(planes)[0])
    assert code == 0 and abs(np.asarray(Image.open(tmp_path / "out/map.png")).astype(int) - expected).max() <= 1
    grey = uint8_image("sketch", 32, 32, 1)
    Image.fromarray(grey).convert("RGBA").save(tmp_path / "s.png")
    code, *_ = pspnb_command(
        "translate", "--model", models / "sketch.pt", "--input", tmp_path / "s.png", "--output", tmp_path / "out"
    )
    with torch.no_grad():
        expected = to_uint8(pspnb.load(models / "sketch.pt")(torch.from_numpy(grey).float()[None, None] / 255)[0])
    assert code == 0 and abs(np.asarray(Image.open(tmp_path / "out/s.png")).astype(int) - expected).max() <= 1


def test_several_outputs_for_each_input(pspnb_command, models, photos, tmp_path):
    arguments = ("translate", "--model", models / "photo.pt", "--input", photos / "sub", "--output", tmp_path / "out")
    code, lines, _ = pspnb_command(*arguments, "--n-samples", 3, "--layers", "4-6,7", "--alpha", 0.5, "--seed", 4)
    assert code == 0 and lines == ["2 written"]
    assert _files(tmp_path / "out") == [f"{n}_sample{i}.png" for n in "ad" for i in range(3)]
    psp = pspnb.load(models / "photo.pt")
    x = image_tensor(np.asarray(Image.open(photos / "sub/a.png")), 32)[None]
    expected = psp.sample(x, n=3, layers=[4, 5, 6, 7], alpha=0.5, seed=4)[0]
    for i in range(3):
        found = np.asarray(Image.open(tmp_path / f"out/a_sample{i}.png")).astype(int)
        assert abs(found - to_uint8(expected[i])).max() <= 1
    assert abs(to_uint8(expected[0]).astype(int) - to_uint8(expected[1])).max() > 1


def test_layers_of_the_task_are_the_default(pspnb_command, models, tmp_path):
    Image.fromarray(uint8_image("sketch", 32, 32, 1)).save(tmp_path / "s.png")
    arguments = ("translate", "--model", models / "sketch.pt", "--input", tmp_path / "s.png", "--n-samples", 2)
    assert pspnb_command(*arguments, "--output", tmp_path / "a")[0] == 0
    assert pspnb_command(*arguments, "--output", tmp_path / "b", "--layers", "7")[0] == 0
    for i in range(2):
        name = f"s_sample{i}.png"
        assert (tmp_path / "a" / name).read_bytes() == (tmp_path / "b" / name).read_bytes()


def test_codes_out_and_in_again(pspnb_command, models, photos, tmp_path):
    codes, out = tmp_path / "codes.safetensors", tmp_path / "out"
    arguments = ("translate", "--model", models / "photo.pt", "--input", photos, "--output", out, "--codes", codes)
    assert pspnb_command(*arguments)[0] == 0
    stored = load_file(codes)
    assert sorted(stored) == NAMES and {tuple(v.shape) for v in stored.values()} == {(8, STYLE_DIM)}
    psp = pspnb.load(models / "photo.pt")
    x = image_tensor(np.asarray(Image.open(photos / "e.png")), 32)[None]
    torch.testing.assert_close(stored["e"], psp.encode(x)[0].detach(), rtol=1e-4, atol=1e-4)
    again = tmp_path / "again"
    code, *_ = pspnb_command("translate", "--model", models / "photo.pt", "--input", codes, "--output", again)
    assert code == 0 and _files(again) == _files(out)
    for name in _files(out):
        assert abs(np.asarray(Image.open(again / name)).astype(int) - np.asarray(Image.open(out / name))).max() <= 1


def test_codes_are_completed_where_pictures_exist_already(pspnb_command, models, photos, tmp_path):
    codes, out = tmp_path / "codes.safetensors", tmp_path / "out"
    arguments = ("translate", "--model", models / "photo.pt", "--input", photos, "--output", out)
    pspnb_command(*arguments)
    save_file({"b": torch.zeros(8, STYLE_DIM), "other": torch.ones(8, STYLE_DIM)}, codes)
    code, lines, _ = pspnb_command(*arguments, "--codes", codes)
    assert code == 0 and lines[0].startswith("6 written, 1 kept")
    stored = load_file(codes)
    assert sorted(stored) == sorted([*NAMES, "other"]) and (stored["b"] == 0).all() and (stored["other"] == 1).all()


# ---- mistakes: one line, exit code 2 ------------------------------------------------------------------------------


def test_mistakes_in_the_arguments(mistake):
    assert "Missing from pspnb translate: --input" in mistake("translate", "--model", "x", "--output", "y")
    assert "Unrecognized options: --colour" in mistake("models", "--colour")
    assert "Unrecognized options: paint" in mistake("paint")
    assert "Expected one of {translate" in mistake()
    assert "--n-samples" in mistake("translate", "--model", "x", "--input", "a", "--output", "b", "--n-samples", "few")


@pytest.mark.parametrize(
    "extra, says",
    [
        (["--layers", "4-8", "--n-samples", "1"], "expected layers within 0-7 for this model of 8 styles, got 4-8"),
        (["--layers", "7-", "--n-samples", "1"], "expected layers such as 8-17"),
        (["--layers", "seven", "--n-samples", "1"], "expected layers such as 8-17"),
        (["--layers", "7-4", "--n-samples", "1"], "expected layers within"),
        (["--layers", "4"], "belong to --n-samples"),
        (["--n-samples", "2"], "the task inversion has one answer; expected --layers"),
        (["--n-samples", "-1"], "expected a number of samples of at least 0"),
        (["--n-samples", "1", "--layers", "3", "--alpha", "1.5"], "expected an alpha within 0 and 1"),
        (["--batch-size", "0"], "expected a batch size of at least 1"),
        (["--task", "juggling"], "expected a task among inversion"),
        (["--task", "sketch"], "the task sketch has 1 input channels, the model reads 3"),
        (["--device", "tpu9"], "cannot use the device 'tpu9'"),
        (["--codes", "codes.pt"], "ends in .safetensors"),
        (["--factor", "4"], "only super-resolution takes one"),
    ],
)
def test_mistakes_in_what_to_do(mistake, models, photos, tmp_path, extra, says):
    basic = ("translate", "--model", models / "photo.pt", "--input", photos / "a.png", "--output", tmp_path / "out")
    assert says in mistake(*basic, *extra)
    assert not (tmp_path / "out").exists()


def test_mistakes_in_the_model(mistake, models, photos, tmp_path):
    rest = ("--input", photos, "--output", tmp_path / "out")
    (tmp_path / "page.pt").write_text("<html>Google Drive: quota exceeded</html>")
    assert "download quota is exceeded" in mistake("translate", "--model", tmp_path / "page.pt", *rest)
    (tmp_path / "cut.pt").write_bytes((models / "photo.pt").read_bytes()[:1000])
    assert "damaged or truncated" in mistake("translate", "--model", tmp_path / "cut.pt", *rest)
    assert "no such file" in mistake("translate", "--model", "facets64/nothing", *rest)
    assert "expected --task" in mistake("translate", "--model", models / "odd.pt", *rest)
    assert not (tmp_path / "out").exists()


def test_mistakes_in_the_input(mistake, models, tmp_path):
    basic = ("translate", "--model", models / "photo.pt", "--output", tmp_path / "out")
    (tmp_path / "empty").mkdir()
    (tmp_path / "empty" / "notes.txt").write_text("x")
    assert "no images in this folder" in mistake(*basic, "--input", tmp_path / "empty")
    assert "no such file or folder" in mistake(*basic, "--input", tmp_path / "absent")
    (tmp_path / "zero.png").write_bytes(b"")
    assert "zero.png: the file is empty (0 bytes)" in mistake(*basic, "--input", tmp_path / "zero.png")
    Image.new("RGB", (9, 9)).save(tmp_path / "x.gif", save_all=True, append_images=[Image.new("RGB", (9, 9), "red")])
    assert "of 2 frames; expected a still image" in mistake(*basic, "--input", tmp_path / "x.gif")
    assert not list((tmp_path / "out").rglob("*"))
    (tmp_path / "file").write_text("x")
    Image.new("RGB", (9, 9)).save(tmp_path / "x.png")
    arguments = (
        "translate",
        "--model",
        models / "photo.pt",
        "--input",
        tmp_path / "x.png",
        "--output",
        tmp_path / "file",
    )
    assert "expected a folder for the results, this is a file" in mistake(*arguments)


@pytest.mark.parametrize(
    "tensors, says",
    [
        ({"x": torch.zeros(7, STYLE_DIM)}, r"x: expected codes of shape (8, 32), floating point, found (7, 32)"),
        ({"x": torch.zeros(8, STYLE_DIM, dtype=torch.long)}, "expected codes of shape (8, 32), floating point"),
        ({"x": torch.full((8, STYLE_DIM), float("nan"))}, "x: the codes hold NaN"),
        ({"../x": torch.zeros(8, STYLE_DIM)}, "leaves the output folder"),
        ({}, "expected codes, found an empty file"),
        (None, "damaged, or not a safetensors file"),
    ],
)
def test_codes_of_the_wrong_shape(mistake, models, tmp_path, tensors, says):
    path = tmp_path / "codes.safetensors"
    path.write_bytes(b"nonsense") if tensors is None else save_file(tensors, path)
    basic = ("translate", "--model", models / "photo.pt", "--output", tmp_path / "out")
    assert says in mistake(*basic, "--input", path)
    assert not list((tmp_path / "out").rglob("*.png"))


def test_a_model_that_yields_nan(mistake, models, photos, tmp_path):
    content = torch.load(models / "photo.pt", weights_only=True)
    content["state_dict"]["decoder.to_rgbs.1.bias"].fill_(float("nan"))
    torch.save(content, tmp_path / "nan.pt")
    arguments = ("translate", "--model", tmp_path / "nan.pt", "--input", photos / "a.png", "--output", tmp_path / "out")
    assert "a.png: the result holds NaN" in mistake(*arguments)


# ---- some of many fail: exit code 1 -------------------------------------------------------------------------------


def test_an_unreadable_file_among_good_ones(pspnb_command, models, photos, tmp_path):
    (photos / "bad.png").write_bytes(b"")
    (photos / "sub" / "cut.jpg").write_bytes((photos / "b.jpg").read_bytes()[:200])
    arguments = ("translate", "--model", models / "photo.pt", "--input", photos, "--output", tmp_path / "out")
    code, lines, errors = pspnb_command(*arguments, "--batch-size", 2)
    assert code == 1 and lines == ["7 written, 2 failed"] and len(errors) == 2
    assert "bad.png: the file is empty" in errors[0] and "cut.jpg: damaged or truncated image" in errors[1]
    assert _files(tmp_path / "out") == [f"{name}.png" for name in NAMES]


# ---- align --------------------------------------------------------------------------------------------------------


@pytest.fixture
def faces(tmp_path, fixtures_dir, monkeypatch):
    monkeypatch.setenv("PSPNB_YUNET", str(fixtures_dir / "landmarks" / "yunet_n_dynamic.onnx"))
    root = tmp_path / "faces"
    (root / "more").mkdir(parents=True)
    shutil.copy(fixtures_dir / "faces" / "astronaut_ffhq256.png", root / "eileen.png")
    for path in sorted((fixtures_dir / "faces" / "sfhq256").glob("*.jpg"))[:3]:
        shutil.copy(path, root / "more" / path.name)
    return root


def test_align_a_folder_and_one_image(pspnb_command, faces, tmp_path):
    out = tmp_path / "out"
    code, lines, errors = pspnb_command("align", faces, "--output", out)
    assert (code, lines, errors) == (0, ["4 written"], []) and len(_files(out)) == 4
    assert all(Image.open(out / name).size == (256, 256) for name in _files(out))
    assert pspnb_command("align", faces, "--output", out)[1] == [
        "0 written, 4 kept (they exist; --overwrite replaces them)"
    ]
    code, *_ = pspnb_command("align", faces / "eileen.png", "--output", out, "--size", 128, "--format", "jpg")
    assert code == 0 and Image.open(out / "eileen.jpg").size == (128, 128)


def test_pictures_without_a_face(pspnb_command, faces, tmp_path):
    Image.new("RGB", (200, 200), (20, 90, 30)).save(faces / "grass.png")
    code, lines, errors = pspnb_command("align", faces, "--output", tmp_path / "out")
    assert code == 1 and lines == ["4 written, 1 failed"]
    assert len(errors) == 1 and "grass.png: no face found; expected" in errors[0]
    code, _, errors = pspnb_command("align", faces / "grass.png", "--output", tmp_path / "out")
    assert code == 2 and len(errors) == 1 and "grass.png: no face found" in errors[0]


# ---- models, facets -----------------------------------------------------------------------------------------------


def test_models_lists_cards_and_official_files(pspnb_command):
    code, lines, errors = pspnb_command("models")
    text = "\n".join(lines)
    assert code == 0 and errors == []
    assert all(name in text for name in pspnb.available())
    assert "psp_ffhq_encode.pt" in text and "https://drive.google.com/file/d/" in text and "licence: MIT" in text
    for name in pspnb.available()[:1]:
        assert "architecture" in json.loads("\n".join(pspnb_command("models", name)[1]))


def test_version(pspnb_command):
    assert pspnb_command("--version") == (0, [f"pspnb {pspnb.__version__}"], [])


def test_the_task_comes_from_the_name_of_the_file():
    from pspnb.editing.translate import task_of

    psp = tiny_psp()
    assert task_of(psp, model_name="a/psp_celebs_super_resolution.pt").name == "super_resolution"
    assert task_of(psp, model_name="facets64/frontalization").name == "frontalization"
    assert task_of(psp, model_name="a/psp_ffhq_encode.pt").name == "inversion"
    assert task_of(psp, model_name="my_sketch.pt").name == "inversion"  # a sketch model reads one channel
    assert task_of(tiny_psp(in_channels=19), model_name="x.pt").name == "segmentation"


def test_models_of_an_unknown_name(mistake):
    assert "no shipped model is called 'x/y'" in mistake("models", "x/y")


def test_facets(pspnb_command, mistake, tmp_path):
    code, lines, _ = pspnb_command("facets", "--n", 3, "--size", 32, "--output", tmp_path / "f")
    assert code == 0 and len(list((tmp_path / "f" / "images").glob("*.png"))) == 3
    assert "exists" in mistake("facets", "--n", 3, "--size", 32, "--output", tmp_path / "f")


def test_train_hands_its_arguments_on(pspnb_command, mistake, monkeypatch, tmp_path):
    """What training does is tested elsewhere."""
    from pspnb.recipes import generators, instruments

    seen = {}
    monkeypatch.setattr(
        generators, "train_generator", lambda **kwargs: seen.update(kwargs) or kwargs["out"] / "checkpoint.pt"
    )
    instead = lambda name, **kwargs: seen.update(kwargs, name=name) or Path("there")  # noqa: E731
    monkeypatch.setattr(instruments, "train_instrument", instead)
    arguments = ("train", "generator", "--out", tmp_path / "run", "--steps", 7, "--device", "cpu", "--resume")
    assert pspnb_command(*arguments)[:2] == (0, [f"checkpoint -> {tmp_path / 'run' / 'checkpoint.pt'}"])
    assert seen["steps"] == 7 and seen["resume"] and seen["scale"] == "facets64" and seen["device"] == "cpu"
    assert pspnb_command("train", "instrument", "parsing", "--out", tmp_path / "run", "--seed", 3)[0] == 0
    assert seen["name"] == "parsing" and seen["seed"] == 3 and not seen["resume"]
    assert "expected the name of an instrument" in mistake("train", "instrument", "--out", tmp_path / "run")
    assert "expected no name after generator" in mistake("train", "generator", "x", "--out", tmp_path / "run")


# ---- in a process of its own --------------------------------------------------------------------------------------


def _spawn(*arguments, **kwargs):
    command = [sys.executable, "-m", "pspnb.cli", *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, **kwargs)


def test_help_answers_without_torch():
    code = "import sys; from pspnb import cli\ntry: cli.main(sys.argv[1:])\nfinally: assert 'torch' not in sys.modules"
    for arguments in (["--help"], ["translate", "--help"]):
        done = subprocess.run([sys.executable, "-c", code, *arguments], capture_output=True, text=True)
        assert done.returncode == 0 and done.stderr == "" and "translate" in done.stdout


def test_a_full_disk_ends_the_run_and_leaves_whole_files(models, photos, tmp_path):
    """The system refuses what is larger than the second-largest picture: some are written before one is not."""
    whole, out = tmp_path / "whole", tmp_path / "out"
    arguments = ["translate", "--model", models / "photo.pt", "--input", photos, "--output"]
    assert cli.main([*map(str, arguments), str(whole)]) == 0
    size = sorted((whole / name).stat().st_size for name in _files(whole))[-2]
    done = _spawn(*arguments, out, preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (size, size)))
    assert done.returncode == 2 and done.stdout == ""
    assert len(done.stderr.splitlines()) == 1 and "cannot write: File too large" in done.stderr
    for name in _files(out):
        assert not name.startswith(".tmp") and Image.open(out / name).load() is not None


def test_a_small_disk_that_fills(models, photos, tmp_path):
    """A real full file system, where this user may mount one."""
    disk = tmp_path / "disk"
    disk.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=8k", "tmpfs", str(disk)]
    if os.geteuid() != 0 or subprocess.run(mount, capture_output=True).returncode != 0:
        pytest.skip("this user may not mount a small disk")
    try:
        done = _spawn("translate", "--model", models / "photo.pt", "--input", photos, "--output", disk / "out")
        assert done.returncode == 2 and len(done.stderr.splitlines()) == 1
        assert "cannot write: No space left on device" in done.stderr
        assert not [name for name in _files(disk) if ".tmp" in name]
        for name in _files(disk):
            assert Image.open(disk / name).load() is not None
    finally:
        subprocess.run(["umount", str(disk)], check=True)


def test_ctrl_c_ends_cleanly(models, tmp_path):
    photos = tmp_path / "photos"
    photos.mkdir()
    for i in range(400):
        Image.fromarray(uint8_image(f"p{i % 3}", 64, 64, 3)).save(photos / f"{i:03d}.png")
    out, codes = tmp_path / "out", tmp_path / "codes.safetensors"
    arguments = ["translate", "--model", models / "photo.pt", "--input", photos, "--output", out, "--codes", codes]
    command = [sys.executable, "-m", "pspnb.cli", *map(str, arguments), "--batch-size", "1"]
    # As in a terminal: a shell's background job, such as these tests may be, hands down that SIGINT is ignored.
    listen = lambda: signal.signal(signal.SIGINT, signal.SIG_DFL)  # noqa: E731
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, preexec_fn=listen)
    deadline = time.monotonic() + 300
    while time.monotonic() < deadline and not (out.exists() and len(list(out.glob("0*.png"))) > 3):
        time.sleep(0.02)
    process.send_signal(signal.SIGINT)
    _, errors = process.communicate(timeout=300)
    assert process.returncode == 130 and errors.splitlines()[-1].startswith("pspnb: interrupted"), errors
    assert "Traceback" not in errors
    names = _files(out)
    assert 0 < len(names) < 400 and not [n for n in names if ".tmp" in n]
    assert set(load_file(codes)) <= {n.removesuffix(".png") for n in names} and len(load_file(codes)) >= len(names) - 1


def test_progress_is_shown_on_a_terminal_only(models, photos, tmp_path):
    import fcntl
    import pty
    import struct
    import termios

    master, slave = pty.openpty()
    fcntl.ioctl(slave, termios.TIOCSWINSZ, struct.pack("HHHH", 24, 80, 0, 0))
    arguments = ["translate", "--model", models / "photo.pt", "--input", photos, "--output", tmp_path / "out"]
    command = [sys.executable, "-m", "pspnb.cli", *map(str, arguments)]
    done = subprocess.run(command, stderr=slave, stdout=subprocess.PIPE, text=True)
    os.close(slave)
    seen = os.read(master, 100_000).decode()
    os.close(master)
    assert done.returncode == 0 and "7/7" in seen and done.stdout == "7 written\n"


def test_randomness_comes_from_the_seed_alone(pspnb_command, models, photos, tmp_path):
    basic = (
        "translate",
        "--model",
        models / "photo.pt",
        "--input",
        photos / "b.jpg",
        "--n-samples",
        1,
        "--layers",
        "5-7",
    )
    before = torch.get_rng_state()
    for name, seed in (("a", 1), ("b", 1), ("c", 2)):
        pspnb_command(*basic, "--output", tmp_path / name, "--seed", seed)
    assert torch.equal(torch.get_rng_state(), before)
    a, b, c = ((tmp_path / name / "b_sample0.png").read_bytes() for name in "abc")
    assert a == b != c


def test_codes_of_the_library_can_be_drawn(pspnb_command, models, tmp_path):
    """What a reader does in a notebook: edit codes, save them, draw them here."""
    save_file({"mine": gauss("mine", (8, STYLE_DIM))}, tmp_path / "codes.safetensors")
    arguments = ("translate", "--model", models / "photo.pt", "--input", tmp_path / "codes.safetensors")
    assert pspnb_command(*arguments, "--output", tmp_path / "out")[:2] == (0, ["1 written"])
    psp = pspnb.load(models / "photo.pt")
    with torch.no_grad():
        expected = to_uint8(psp.decode(gauss("mine", (8, STYLE_DIM))[None])[0])
    assert abs(np.asarray(Image.open(tmp_path / "out/mine.png")).astype(int) - expected).max() <= 1


def test_from_python(models, photos, tmp_path):
    """The same without the command line."""
    from pspnb.editing.translate import task_of, translate

    psp = pspnb.load(models / "photo.pt")
    report = translate(psp, photos, tmp_path / "out", task=task_of(psp), progress=False)
    assert report.written == 7 and report.failures == []
    assert image("x", 3, 4, 4).shape == (3, 4, 4)
