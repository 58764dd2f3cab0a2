"""ONNX files against torch: the same numbers for any batch, whatever the storage."""

import json
import subprocess
import sys

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from _tiny import tiny_psp

import pspnb
from pspnb import cli
from pspnb.errors import PspnbError
from pspnb.models import onnx as export_onnx
from pspnb.models import zoo
from pspnb.models.onnx_graph import store_half
from pspnb.models.prior_mapping import PriorMapping
from pspnb.models.psp import PSP
from pspnb.nn.encoders import GradualStyleEncoder
from pspnb.nn.stylegan2 import Generator
from pspnb.world2 import prior, sample_factors

TOLERANCE = 1e-4


def _run(path, **given):
    """Outputs of a file for named tensors."""
    session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    return [torch.tensor(y) for y in session.run(None, {k: v.detach().numpy() for k, v in given.items()})]


def _close(got, wanted):
    """Equal to 1e-4 of the size of the numbers (of 1 for images)."""
    assert got.shape == wanted.shape
    return float((got - wanted).abs().max()) <= TOLERANCE * max(1.0, float(wanted.abs().max()))


def _rounded(model):
    """The same model with every large weight rounded to float16."""
    for tensor in model.state_dict().values():
        if tensor.is_floating_point() and tensor.numel() >= 1024:
            tensor.copy_(tensor.half().float())
    return model


def _with_prior() -> Generator:
    """The shipped generator with an answer key; random weights of its kind where it belongs to another version of the world."""
    if "world2/generator" in zoo.available():
        try:
            return pspnb.load_generator("world2/generator")
        except ValueError as error:
            assert "another version" in str(error)
    with torch.random.fork_rng():
        torch.manual_seed(3)
        widths = {4: 160, 8: 160, 16: 128, 32: 96, 64: 48}
        generator = Generator(
            64, style_dim=128, noise=False, channels=widths, z_dim=prior.Z_DIM, mapping=PriorMapping(style_dim=128)
        )
    return _rounded(generator.eval().requires_grad_(False))


@pytest.fixture(scope="module")
def with_prior(tmp_path_factory):
    model = _with_prior()
    return model, export_onnx.export(model, tmp_path_factory.mktemp("prior"))


@pytest.fixture(scope="module")
def shipped(tmp_path_factory):
    """The inversion of the first world."""
    model = pspnb.load("facets64/inversion")
    parts = ("encoder", "translation")
    return model, export_onnx.export(model, tmp_path_factory.mktemp("shipped"), parts=parts)


@torch.no_grad()
@pytest.mark.parametrize("batch", [1, 3])
def test_factors_to_w_to_image(with_prior, batch):
    model, paths = with_prior
    factors = sample_factors(7, range(batch))
    (w,) = _run(paths["mapping"], numbers=prior.numbers(factors))
    assert _close(w, model.map_factors(factors))
    codes = model.to_w_plus(w).contiguous()
    assert _close(_run(paths["synthesis"], codes=codes)[0], model.synthesize(codes))


@torch.no_grad()
@pytest.mark.parametrize("batch", [1, 3])
def test_encoder_and_whole_translation(shipped, batch):
    model, paths = shipped
    x = torch.rand(batch, 3, 64, 64, generator=torch.Generator().manual_seed(batch)) * 2 - 1
    assert _close(_run(paths["encoder"], image=x)[0], model.encode(x))
    image, codes = _run(paths["translation"], image=x)
    assert _close(image, model(x)) and _close(codes, model.encode(x))


def test_files_are_small_and_described(with_prior, shipped):
    for _, paths in (with_prior, shipped):
        described = json.loads((next(iter(paths.values())).parent / "model.json").read_text())
        for part, path in paths.items():
            about = described["graphs"][part]
            assert about["bytes"] == path.stat().st_size
            assert part == "translation" or about["bytes"] < 4.5 * 2**20
            graph = onnx.load(path).graph
            for ports, values in (("inputs", graph.input), ("outputs", graph.output)):
                found = [(v.name, [d.dim_param or d.dim_value for d in v.type.tensor_type.shape.dim]) for v in values]
                assert [(port["name"], port["shape"]) for port in about[ports]] == found
        assert {entry.version for entry in onnx.load(path).opset_import if not entry.domain} == {described["opset"]}


def test_nothing_of_the_exporting_machine_is_in_a_file(with_prior):
    for path in with_prior[1].values():
        content = path.read_bytes()
        assert b".py" not in content and b"/home" not in content and b"pspnb/" not in content


@torch.no_grad()
def test_tiny_model_noise_storage_and_mapping(tmp_path):
    """Noise as inputs; float32 storage is exact; float16 storage is the model with rounded weights."""
    model = tiny_psp().eval()
    full = export_onnx.export(model, tmp_path / "full", parts=["mapping", "synthesis"], noise="input", half=False)
    z = torch.randn(2, 8, generator=torch.Generator().manual_seed(0))
    (w,) = _run(full["mapping"], z=z)
    assert _close(w, model.decoder.map(z))
    codes = model.decoder.to_w_plus(w).contiguous()
    draw = torch.Generator().manual_seed(1)
    shapes = [tuple(buffer.shape) for buffer in model.decoder.noises.buffers()]
    maps = [torch.randn(2, *shape[1:], generator=draw) for shape in shapes]
    named = {f"noise_{i}": m for i, m in enumerate(maps)}
    (image,) = _run(full["synthesis"], codes=codes, **named)
    assert _close(image, model.decode(codes, noise=maps))
    assert not _close(image, model.decode(codes))  # the maps matter
    half = export_onnx.export(model, tmp_path / "half", parts=["synthesis"])
    assert _close(_run(half["synthesis"], codes=codes)[0], _rounded(model).decode(codes))


def test_half_storage_keeps_what_float16_cannot_hold():
    names = ("large", "plain", "small")
    values = {"large": np.full(2048, 1e5), "plain": np.linspace(-1, 1, 2048), "small": np.ones(3)}
    tensors = [onnx.numpy_helper.from_array(values[name].astype(np.float32), name) for name in names]
    nodes = [onnx.helper.make_node("Add", ["large", "plain"], ["y"])]
    y = onnx.helper.make_tensor_value_info("y", onnx.TensorProto.FLOAT, [2048])
    model = onnx.helper.make_model(onnx.helper.make_graph(nodes, "g", [], [y], tensors))
    store_half(model)
    kinds = {tensor.name: tensor.data_type for tensor in model.graph.initializer}
    assert kinds["large"] == kinds["small"] == onnx.TensorProto.FLOAT
    assert kinds["plain.half"] == onnx.TensorProto.FLOAT16


@torch.no_grad()
def test_silent_channels_stay_numbers(tmp_path):
    """A style of zeros: the demodulation's 1e-8 is in the file."""
    model = tiny_psp().eval()
    for layer in (model.decoder.conv1.conv, model.decoder.convs[3].conv):
        layer.modulation.weight.zero_()
        layer.modulation.bias.zero_()
    paths = export_onnx.export(model.decoder, tmp_path, parts=["synthesis"])
    codes = torch.randn(1, 10, 8, generator=torch.Generator().manual_seed(0))
    (image,) = _run(paths["synthesis"], codes=codes)
    assert image.isfinite().all() and _close(image, _rounded(model).decode(codes))


@torch.no_grad()
@pytest.mark.slow
def test_official_size(tmp_path):
    """256 px to 1024 px with 18 styles: the published generator, a narrow encoder, random weights."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        encoder = GradualStyleEncoder(18, units=(1, 1, 1, 1), widths=(8, 8, 8, 8, 16), head_channels=16)
        model = _rounded(PSP(encoder, Generator(1024)).eval())
    path = export_onnx.export(model, tmp_path, parts=["translation"])["translation"]
    x = torch.rand(1, 3, 256, 256, generator=torch.Generator().manual_seed(0)) * 2 - 1
    image, codes = _run(path, image=x)
    assert image.shape == (1, 3, 1024, 1024) and _close(codes, model.encode(x)) and _close(image, model(x))


@torch.no_grad()
def test_torch_export_of_the_whole():
    model = tiny_psp().eval()
    batch = torch.export.Dim("batch")
    x = torch.randn(2, 3, 64, 64, generator=torch.Generator().manual_seed(0))
    program = torch.export.export(model, (x,), dynamic_shapes={"x": {0: batch}})
    more = torch.randn(5, 3, 64, 64, generator=torch.Generator().manual_seed(1))
    assert torch.allclose(program.module()(more), model(more), atol=1e-5)


def test_what_cannot_be_exported(tmp_path):
    with pytest.raises(PspnbError, match="expected a model that translates images, or a generator, to export"):
        export_onnx.export(torch.nn.Linear(2, 2), tmp_path)
    model = tiny_psp(noise=False)
    with pytest.raises(PspnbError, match="expected parts among mapping, synthesis for a Generator, got encoder"):
        export_onnx.export(model.decoder, tmp_path, parts=["encoder"])
    with pytest.raises(PspnbError, match="'input' for a generator with noise layers"):
        export_onnx.export(model, tmp_path, noise="input")
    (tmp_path / "file").touch()
    with pytest.raises(PspnbError, match="expected a folder"):
        export_onnx.export(model, tmp_path / "file")
    assert not list(tmp_path.rglob("*.onnx"))


def test_without_onnx_one_line_says_what_to_install(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "onnxscript", None)
    with pytest.raises(PspnbError, match=r"pip install 'pspnb\[onnx\]'"):
        export_onnx.export(tiny_psp(), tmp_path, parts=["mapping"])


def test_command(tmp_path, capsys):
    arguments = ["export", "facets64/generator", "--out", str(tmp_path), "--parts", "mapping", "--float32"]
    assert cli.main(arguments) == 0
    assert "mapping.onnx" in capsys.readouterr().out
    assert json.loads((tmp_path / "model.json").read_text())["storage"] == "float32"
    assert cli.main(arguments) == 2
    assert "holds an export already" in capsys.readouterr().err
    assert cli.main([*arguments, "--overwrite"]) == 0
    assert cli.main(["export", "world2/parsing", "--out", str(tmp_path / "x")]) == 2
    assert "this is a ParsingNet" in capsys.readouterr().err


def test_importing_the_library_does_not_import_onnx():
    code = "import sys, pspnb.models.onnx; print('onnx' in sys.modules or 'onnxscript' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"
