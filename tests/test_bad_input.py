"""Bad input: each case is one line that says what was expected, nothing is run, nothing is left half written.

The command line's side of it (exit codes, folders) is in test_cli.py.
"""

import os
import pickle
import struct
import zipfile
import zlib

import numpy as np
import pytest
import torch
from _files import STYLE_DIM, ada_tensors, psp_content, tiny_encoder, tiny_generator, tiny_psp, write_ada
from _golden import image, uint8_image
from PIL import Image

import pspnb
from pspnb.errors import ImageError, LoadError, PspnbError
from pspnb.files import folders, images
from pspnb.models import official
from pspnb.nn.discriminator import Discriminator
from pspnb.nn.ops import make_kernel

LOADERS = {"psp": pspnb.load, "generator": pspnb.load_generator, "identity": pspnb.load_identity}


def refused(call, *arguments, match, kind=LoadError, **kwargs):
    """The call fails with one line of our own kind that names what was expected."""
    with pytest.raises(kind, match=match) as caught:
        call(*arguments, **kwargs)
    assert "\n" not in str(caught.value) and len(str(caught.value)) < 600
    return str(caught.value)


@pytest.fixture
def put(tmp_path):
    """Write bytes, or an object as PyTorch does; returns the path."""

    def put(content, name="x.pt", **kwargs):
        if isinstance(content, bytes):
            (tmp_path / name).write_bytes(content)
        else:
            torch.save(content, tmp_path / name, **kwargs)
        return tmp_path / name

    return put


@pytest.fixture(scope="module")
def content():
    return psp_content(tiny_psp())


# ---- files that are no checkpoint ---------------------------------------------------------------------------------


@pytest.mark.parametrize("load", LOADERS.values(), ids=LOADERS)
@pytest.mark.parametrize("share", [0.0, 0.001, 0.3, 0.9, 0.9999])
@pytest.mark.parametrize("legacy", [False, True])
def test_truncated_checkpoint(put, content, load, share, legacy):
    path = put(content, _use_new_zipfile_serialization=not legacy)
    data = path.read_bytes()
    path.write_bytes(data[: int(len(data) * share)])
    refused(load, path, match=r"x\.pt: (damaged or truncated|the file is empty)")


@pytest.mark.parametrize("where", [0.1, 0.5, 0.9])
def test_one_flipped_bit_in_the_weights(put, content, where):
    path = put(content)
    data = bytearray(path.read_bytes())
    data[int(len(data) * where)] ^= 1
    path.write_bytes(data)
    refused(pspnb.load, path, match="damaged")


def test_checksums_that_were_never_written_are_not_missed(put, content):
    torch.serialization.set_crc32_options(False)
    try:
        path = put(content)
    finally:
        torch.serialization.set_crc32_options(True)
    assert pspnb.load(path).n_styles == 8


@pytest.mark.parametrize("load", LOADERS.values(), ids=LOADERS)
@pytest.mark.parametrize("share", [0.01, 0.5, 0.99])
def test_truncated_nvidia_pickle(tmp_path, load, share):
    path = tmp_path / "ada.pkl"
    write_ada(path, ada_tensors())
    path.write_bytes(path.read_bytes()[: int(path.stat().st_size * share)])
    refused(load, path, match=r"ada\.pkl: (damaged or truncated pickle|a plain pickle; expected a PyTorch checkpoint)")


@pytest.mark.parametrize("load", LOADERS.values(), ids=LOADERS)
@pytest.mark.parametrize(
    "page, says",
    [
        (b"<!DOCTYPE html><html><title>Google Drive - Quota exceeded</title></html>", "download quota is exceeded"),
        (b"\n  <html>Google Drive can't scan this file for viruses. Download anyway?</html>", "confirmation page"),
        (b"\xef\xbb\xbf<HTML><head>404 not found</head></HTML>", "a web page, not the file"),
        (b"<?xml version='1.0'?><Error>AccessDenied</Error>", "a web page, not the file"),
    ],
)
def test_a_web_page_saved_as_a_checkpoint(put, load, page, says):
    refused(load, put(page), match=rf"x\.pt: .*{says}")


@pytest.mark.parametrize("load", LOADERS.values(), ids=LOADERS)
@pytest.mark.parametrize("data", [b"hello", b"\x00" * 5000, b"\x89PNG\r\n\x1a\n" + b"\x00" * 100, b"ustar" * 200])
def test_other_files(put, load, data):
    refused(load, put(data), match="not a PyTorch checkpoint")


def test_other_archives(tmp_path):
    with zipfile.ZipFile(tmp_path / "x.pt", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("word/document.xml", "x" * 1000)
    refused(pspnb.load, tmp_path / "x.pt", match="a zip archive, but not one that torch.save wrote")


def test_missing_files_and_folders(tmp_path):
    refused(pspnb.load, tmp_path / "absent.pt", match=r"absent\.pt: no such file")
    refused(pspnb.load, tmp_path, match=r"expected the folder of a run, with best\.pt or checkpoint\.pt in it")
    for load in LOADERS.values():
        refused(load, "", match="got an empty path")


# ---- pickles that would run code ----------------------------------------------------------------------------------


class _Evil:
    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return os.system, (f"touch {self.path}",)


@pytest.mark.parametrize("load", LOADERS.values(), ids=LOADERS)
@pytest.mark.parametrize("legacy", [False, True])
def test_code_in_a_checkpoint_is_not_run(put, tmp_path, content, load, legacy):
    path = put({**content, "opts": _Evil(tmp_path / "ran")}, _use_new_zipfile_serialization=not legacy)
    refused(
        load, path, match=r"refused: the file asks for \w+\.system, and weights need no code; nothing of it was run"
    )
    assert not (tmp_path / "ran").exists()


@pytest.mark.parametrize("load", LOADERS.values(), ids=LOADERS)
@pytest.mark.parametrize("protocol", [0, 2, 4])
def test_code_in_a_pickle_is_not_run(put, tmp_path, load, protocol):
    path = put(pickle.dumps({"G_ema": _Evil(tmp_path / "ran")}, protocol), "x.pkl")
    refused(load, path, match="refused: the file asks for .*system|a plain pickle|not a PyTorch checkpoint")
    assert not (tmp_path / "ran").exists()


def test_code_inside_an_nvidia_pickle_is_not_run(tmp_path):
    """Beside the networks; and in the bytes of a tensor, which are a pickle of their own."""
    write_ada(tmp_path / "x.pkl", ada_tensors(), extra={"more": _Evil(tmp_path / "ran")})
    refused(pspnb.load_generator, tmp_path / "x.pkl", match=r"refused: the file asks for posix\.system")
    write_ada(tmp_path / "x.pkl", ada_tensors())
    inner = pickle.dumps(_Evil(tmp_path / "ran"), 2)
    torch.save(torch.ones(2), tmp_path / "storage", _use_new_zipfile_serialization=False)
    head = (tmp_path / "storage").read_bytes()[:16]
    for data in (inner, head + inner):
        pickled = pickle.dumps({"G_ema": _Tensor(data)}, 3)
        (tmp_path / "x.pkl").write_bytes(pickled)
        refused(pspnb.load_generator, tmp_path / "x.pkl", match="expected a StyleGAN2-ADA pickle|damaged pickle")
    assert not (tmp_path / "ran").exists()


class _Tensor:
    """A tensor in a pickle whose storage is any bytes."""

    def __init__(self, data):
        self.data = data

    def __reduce__(self):
        return torch._utils._rebuild_tensor_v2, (_Storage(self.data), 0, (1,), (1,), False, {})


class _Storage:
    def __init__(self, data):
        self.data = data

    def __reduce__(self):
        return torch.storage._load_from_bytes, (self.data,)


def test_a_tensor_that_claims_more_than_its_storage(tmp_path):
    """A stride of 0 would let 4 bytes stand for terabytes."""
    write_ada(tmp_path / "x.pkl", {**ada_tensors(), "mapping.w_avg": torch.ones(1).expand(10**12)})
    refused(pspnb.load_generator, tmp_path / "x.pkl", match="damaged pickle|larger than its storage")


def test_a_pickled_module_is_refused(put):
    refused(
        pspnb.load_generator, put(tiny_generator()), match=r"refused: the file asks for pspnb\.nn\.stylegan2\.Generator"
    )


# ---- checkpoints of something else --------------------------------------------------------------------------------


def test_a_generator_is_no_psp_and_the_other_way_round(put, content):
    generator = put({"g_ema": tiny_generator().state_dict()}, "g.pt")
    refused(pspnb.load, generator, match="expected a pSp checkpoint|expected a dict of tensors")
    refused(pspnb.load, put(tiny_generator().state_dict()), match="found a StyleGAN2 generator .*load_generator")
    refused(pspnb.load_identity, put(content), match="found a pSp checkpoint .*pspnb.load")
    encoder = {f"encoder.{k}": v for k, v in tiny_encoder().state_dict().items()}
    refused(pspnb.load, put(encoder), match="expected a pSp checkpoint")


def test_a_discriminator_and_a_stranger(put):
    discriminator = Discriminator(8, channels={4: 4, 8: 4}).state_dict()
    refused(pspnb.load_generator, put(discriminator), match="expected a StyleGAN2 generator.*discriminator")
    refused(pspnb.load_generator, put({"a.weight": torch.ones(1)}), match="unknown .its first tensors are a.weight")
    for load in LOADERS.values():
        refused(load, put([1, 2]), match="expected a dict of tensors, found list")
        refused(load, put({"epoch": 3}), match="expected a dict of tensors, found a dict with the keys epoch")


def _with(content, **tensors):
    return {**content, "state_dict": {**content["state_dict"], **{k.replace("__", "."): v for k, v in tensors.items()}}}


def test_missing_surplus_and_misshapen_tensors(put, content):
    state = dict(content["state_dict"])
    del state["decoder.convs.2.activate.bias"]
    refused(
        pspnb.load, put({**content, "state_dict": state}), match="expected the generator tensor convs.2.activate.bias"
    )
    surplus = _with(content, encoder__extra__weight=torch.ones(1))
    refused(
        pspnb.load, put(surplus), match="the encoder has 1 tensors that belong to another architecture.*extra.weight"
    )
    misshapen = _with(content, encoder__latlayer1__bias=torch.ones(7))
    refused(pspnb.load, put(misshapen), match=r"latlayer1.bias of shape \(48,\), found \(7,\)")
    wider = _with(content, decoder__convs__1__conv__weight=torch.ones(1, 5, 20, 3, 3))
    refused(pspnb.load, put(wider), match=r"of shape \(1, 20, 20, 3, 3\), found \(1, 5, 20, 3, 3\)")


def test_wrong_style_count(put, content):
    """An encoder for 16 px (6 styles) with a generator of 32 px (8 styles)."""
    state = {k: v for k, v in content["state_dict"].items() if not k.startswith("encoder.")}
    for kind, n_styles in (("gradual", 6), ("wplus", 6)):
        other = {f"encoder.{k}": v for k, v in tiny_encoder(kind, n_styles=n_styles).state_dict().items()}
        expected = "expected 8 styles for a 32 px generator; the encoder makes 6"
        refused(pspnb.load, put({**content, "state_dict": state | other}), match=expected)


def test_wrong_style_dimension(put, content):
    other = {f"encoder.{k}": v for k, v in tiny_encoder(style_dim=16).state_dict().items()}
    state = {k: v for k, v in content["state_dict"].items() if not k.startswith("encoder.")} | other
    refused(
        pspnb.load, put({**content, "state_dict": state}), match="expected styles of 32 numbers; the encoder makes 16"
    )


@pytest.mark.parametrize("shape", [(7, STYLE_DIM), (8, 3), (2, 8, STYLE_DIM), ()])
def test_wrong_latent_average(put, content, shape):
    path = put({**content, "latent_avg": torch.zeros(shape)})
    refused(pspnb.load, path, match=r"expected a latent_avg of shape \(8, 32\), \(1, 32\) or \(32,\)")


@pytest.mark.parametrize("kind", ["Encoder4Editing", "ResNetBackboneEncoder"])
def test_encoders_of_later_methods_share_names_but_not_meaning(put, content, kind):
    refused(pspnb.load, put({**content, "opts": {"encoder_type": kind}}), match=f"the file says '{kind}'")


def test_another_blur(put):
    state = dict(tiny_generator().state_dict())
    state["convs.0.conv.blur.kernel"] = make_kernel((1.0, 2.0, 2.0, 1.0), gain=4.0)
    refused(pspnb.load_generator, put({"g_ema": state}), match="another filter")


def test_other_nvidia_networks(tmp_path):
    tensors = ada_tensors()
    cases = {
        "needs class labels": {**tensors, "mapping.embed.weight": torch.ones(3, 3)},
        "residual or original form": {**tensors, "synthesis.b32.skip.weight": torch.ones(3, 3)},
        "StyleGAN3": {"synthesis.input.freqs": torch.ones(3, 2)},
        "expected 3|of 3 colour channels, found 1": {**tensors, "synthesis.b4.torgb.weight": torch.ones(1, 24, 1, 1)},
        "another one": {**tensors, "synthesis.b8.resample_filter": torch.ones(2, 2)},
        "found the tensor synthesis.other.weight": {**tensors, "synthesis.other.weight": torch.ones(1)},
        "lacks it": {k: v for k, v in tensors.items() if k != "synthesis.b16.conv1.bias"},
        "of shape": {**tensors, "synthesis.b16.conv1.bias": torch.ones(3)},
    }
    for match, values in cases.items():
        write_ada(tmp_path / "x.pkl", values)
        refused(pspnb.load_generator, tmp_path / "x.pkl", match=match)
    (tmp_path / "x.pkl").write_bytes(b"\x80\x03cdnnlib.tflib.network\nNetwork\nq\x00.")
    refused(pspnb.load_generator, tmp_path / "x.pkl", match="a TensorFlow pickle; expected one of the PyTorch version")
    write_ada(tmp_path / "x.pkl", tensors, name="other")
    refused(pspnb.load_generator, tmp_path / "x.pkl", match="a network called G_ema")


def test_other_face_networks(put):
    refused(pspnb.load_identity, put(tiny_encoder().state_dict()), match="expected a face-recognition network")


def test_unknown_device(put, content):
    refused(pspnb.load, put(content), match="cannot use the device 'tpu9'", device="tpu9")


@pytest.mark.parametrize("seed", range(40))
def test_tensors_of_any_shape_give_our_error(put, content, seed):
    """Some tensors lost, some cut, reshaped or of another type: never another exception than ours."""
    random = np.random.RandomState(seed)
    state = dict(content["state_dict"])
    for key in random.choice(sorted(state), size=random.randint(1, 40), replace=False):
        kind = random.randint(4)
        if kind == 0:
            del state[key]
        elif kind == 1:
            state[key] = state[key].flatten()[: random.randint(3)]
        elif kind == 2:
            state[key] = state[key].reshape(-1, 1, 1)
        else:
            state[key] = "text" if random.randint(2) else torch.tensor(3)
    refused(pspnb.load, put({**content, "state_dict": state}), match="x.pt: ")


def test_a_full_disk_leaves_the_old_checkpoint(tmp_path, monkeypatch):
    psp = tiny_psp()
    official.save_psp(psp, tmp_path / "x.pt")
    before = (tmp_path / "x.pt").read_bytes()

    def full(_):
        raise OSError(28, os.strerror(28))

    monkeypatch.setattr(os, "fsync", full)
    refused(official.save_psp, psp, tmp_path / "x.pt", match="cannot write: No space left", kind=PspnbError)
    assert (tmp_path / "x.pt").read_bytes() == before and os.listdir(tmp_path) == ["x.pt"]


@pytest.mark.parametrize("seed", range(30))
def test_damaged_nvidia_pickles_give_our_error(tmp_path, seed):
    """A few bytes changed anywhere: it loads, or it is refused in one line."""
    random = np.random.RandomState(seed)
    write_ada(tmp_path / "x.pkl", ada_tensors(8))
    data = bytearray((tmp_path / "x.pkl").read_bytes())
    end = len(data) if seed % 2 else 3000  # the first part holds the structure
    for place in random.randint(0, end, size=random.randint(1, 6)):
        data[place] = random.randint(256)
    (tmp_path / "x.pkl").write_bytes(data)
    try:
        pspnb.load_generator(tmp_path / "x.pkl")
    except LoadError as error:
        assert "\n" not in str(error)


# ---- images -------------------------------------------------------------------------------------------------------

PICTURE = uint8_image("picture", 48, 64, 3)


@pytest.mark.parametrize("name", ["x.png", "x.jpg", "x.webp", "x.tiff", "x.bmp", "x.gif"])
@pytest.mark.parametrize("share", [0.05, 0.5, 0.9])
def test_truncated_image(tmp_path, name, share):
    path = tmp_path / name
    Image.fromarray(PICTURE).save(path)
    path.write_bytes(path.read_bytes()[: int(path.stat().st_size * share)])
    refused(images.read_image, path, match=rf"{name}: (damaged or truncated image|not an image)", kind=ImageError)


@pytest.mark.parametrize("name", ["x.png", "x.jpg", "x.webp", "x.tiff", "x.bmp", "x.gif", "x.ppm"])
def test_damaged_images_give_our_error(tmp_path, name):
    """Bytes changed anywhere: a picture or our one line, never another exception."""
    random = np.random.RandomState(0)
    path = tmp_path / name
    Image.fromarray(PICTURE).save(path)
    data = path.read_bytes()
    refusals = 0
    for _ in range(60):
        damaged = bytearray(data)
        for place in random.randint(0, min(len(data), 400), size=random.randint(1, 5)):
            damaged[place] = random.randint(256)
        path.write_bytes(damaged)
        try:
            assert images.read_image(path).mode == "RGB"
        except ImageError as error:
            refusals += 1
            assert "\n" not in str(error)
    assert refusals > 0 or name == "x.bmp"


@pytest.mark.parametrize("kind", ["png", "jpg", "webp", "gif"])
def test_empty_and_foreign_files(tmp_path, kind):
    path = tmp_path / f"x.{kind}"
    path.write_bytes(b"")
    refused(images.read_image, path, match="the file is empty .0 bytes.; expected a PNG", kind=ImageError)
    path.write_bytes(b"<html>not found</html>")
    refused(images.read_image, path, match="not an image; expected a PNG", kind=ImageError)


@pytest.mark.parametrize("name", ["x.gif", "x.webp", "x.png", "x.tiff"])
def test_animations_and_pages(tmp_path, name):
    frames = [Image.fromarray(np.roll(PICTURE, 9 * i, axis=1)) for i in range(3)]
    frames[0].save(tmp_path / name, save_all=True, append_images=frames[1:])
    refused(images.read_image, tmp_path / name, match="of 3 frames; expected a still image", kind=ImageError)


def _png(width, height, data=b""):
    chunk = lambda kind, body: struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))  # noqa: E731
    header = chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0))
    return b"\x89PNG\r\n\x1a\n" + header + chunk(b"IDAT", data) + chunk(b"IEND", b"")


@pytest.mark.parametrize("side", [30_000, 14_000])
def test_a_bomb_is_refused_by_its_header(tmp_path, side):
    """2.7 GB of pixels in a file of 60 bytes: had they been decoded, the file would be found to be truncated."""
    (tmp_path / "bomb.png").write_bytes(_png(side, side))
    said = refused(
        images.read_image, tmp_path / "bomb.png", match="larger than the limit of 179 megapixels", kind=ImageError
    )
    assert "truncated" not in said


def test_large_pictures_below_the_limit_give_no_warning(tmp_path):
    """Pillow warns from half of our limit; here the decoder gets as far as the missing pixels."""
    (tmp_path / "large.png").write_bytes(_png(12_000, 12_000))
    refused(images.read_image, tmp_path / "large.png", match="truncated|broken", kind=ImageError)
    (tmp_path / "small.png").write_bytes(_png(60, 60))
    refused(images.read_image, tmp_path / "small.png", match="limit of 0 megapixels", kind=ImageError, max_pixels=3000)


def test_images_without_a_defined_white(tmp_path):
    Image.fromarray(np.ones((4, 4), np.float32)).save(tmp_path / "x.tiff")
    refused(images.read_image, tmp_path / "x.tiff", match=r"x\.tiff: a floating-point image", kind=ImageError)
    Image.fromarray(np.full((4, 4), 70_000, np.int32)).save(tmp_path / "x.tiff")
    refused(images.read_image, tmp_path / "x.tiff", match=r"x\.tiff: a 32-bit image", kind=ImageError)


def test_unreadable_and_missing_files(tmp_path):
    refused(images.read_image, tmp_path / "x.png", match="cannot read: No such file", kind=ImageError)
    refused(images.read_image, tmp_path, match="cannot read: Is a directory", kind=ImageError)
    refused(folders.find_images, tmp_path / "x", match="no such file or folder", kind=ImageError)
    (tmp_path / "notes.txt").write_text("x")
    refused(folders.find_images, tmp_path, match="no images in this folder", kind=ImageError)


# ---- numbers ------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def psp():
    return tiny_psp()


@pytest.mark.parametrize("mask", [[8], [-1], [0, 99]])
def test_latent_mask_out_of_range(psp, mask):
    x = image("x", 3, 32, 32)[None]
    refused(psp, x, latent_mask=mask, match=r"latent_mask entries in 0\.\.7", kind=ValueError)
    refused(psp.sample, x, layers=mask, match=r"latent_mask entries in 0\.\.7", kind=ValueError)


@pytest.mark.parametrize("shape", [(1, 7, STYLE_DIM), (1, 8, STYLE_DIM + 1), (1, STYLE_DIM + 1)])
def test_codes_of_the_wrong_shape(psp, shape):
    expected = r"expected w of shape \(b, 32\) or w_plus of shape \(b, 8, 32\)"
    refused(psp.decode, torch.zeros(shape), match=expected, kind=ValueError)


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_nan_in_the_input(psp, value):
    x = image("x", 3, 32, 32)[None].clone()
    x[0, 1, 5, 5] = value
    refused(psp, x, match="expected finite pixel values, got NaN or infinity", kind=ValueError)


def test_input_of_the_wrong_size(psp):
    refused(psp, torch.zeros(1, 3, 64, 64), match=r"\(b, 3, 32, 32\), got \(1, 3, 64, 64\)", kind=ValueError)
