"""Checkpoints as people really have them: wrapped, converted, re-saved. They load, or one line says what to do."""

import json
import pathlib
import pickle

import pytest
import torch
from _files import ada_tensors, psp_content, tiny_generator, tiny_psp, write_ada
from _golden import image
from safetensors.torch import save_file

import pspnb
from pspnb.errors import LoadError


@pytest.fixture
def save(tmp_path):
    def save(content, name="model.pt"):
        torch.save(content, tmp_path / name)
        return tmp_path / name

    return save


def _same(loaded, original):
    x = image("x", 3, 32, 32)[None]
    with torch.no_grad():
        torch.testing.assert_close(loaded(x), original(x), rtol=0, atol=0)


def _renamed(content, **parts):
    state = content["state_dict"]
    for old, new in parts.items():
        state = {key.replace(f"{old}.", f"{new}.", 1) if key.startswith(old) else key: v for key, v in state.items()}
    return {**content, "state_dict": state}


@pytest.mark.parametrize(
    "parts",
    [
        {"encoder": "encoder.module"},
        {"encoder": "encoder.module", "decoder": "decoder.module"},
        {"encoder": "module.encoder", "decoder": "module.decoder.module"},
    ],
)
def test_data_parallel_around_the_whole_or_the_parts(save, parts):
    psp = tiny_psp()
    _same(pspnb.load(save(_renamed(psp_content(psp), **parts))), psp)


@pytest.mark.parametrize(
    "path", [pathlib.PosixPath("a/b"), pathlib.PurePosixPath("/a"), pathlib.PureWindowsPath("c:/a")]
)
def test_paths_among_the_options(save, path):
    psp = tiny_psp()
    _same(pspnb.load(save(psp_content(psp, opts={"exp_dir": path, "all": [path]}))), psp)


def test_paths_that_another_python_wrote(save, monkeypatch):
    """Python 3.13 writes pathlib._local.PosixPath."""

    class PosixPath(pathlib.PurePosixPath):
        pass

    PosixPath.__module__, PosixPath.__qualname__ = "pathlib._local", "PosixPath"
    module = type(pathlib)("pathlib._local")
    vars(module)["PosixPath"] = PosixPath
    monkeypatch.setitem(__import__("sys").modules, "pathlib._local", module)
    psp = tiny_psp()
    path = save(psp_content(psp, opts={"exp_dir": PosixPath("a")}))
    monkeypatch.undo()
    _same(pspnb.load(path), psp)


def _z(generator):
    return torch.linspace(-2, 2, 2 * generator.style_dim).reshape(2, -1)


def test_the_state_dict_of_an_ada_generator(save, tmp_path):
    tensors = ada_tensors()
    write_ada(tmp_path / "x.pkl", tensors)
    expected = pspnb.load_generator(tmp_path / "x.pkl")
    for content in (tensors, {"G_ema": tensors}, {"state_dict": tensors}):
        found = pspnb.load_generator(save(content, "g.pth"))
        with torch.no_grad():
            assert torch.equal(found(_z(found)), expected(_z(found)))
        assert torch.equal(found.latent_avg, tensors["mapping.w_avg"])
    with pytest.raises(LoadError, match="found a generator of NVIDIA's .open it with pspnb.load_generator"):
        pspnb.load(save(tensors, "g.pth"))


def test_a_conditional_generator_is_refused_in_every_form(save, tmp_path):
    tensors = {**ada_tensors(), "mapping.embed.weight": torch.ones(32, 10)}
    for path in (save(tensors, "g.pth"), tmp_path / "g.pkl"):
        if path.suffix == ".pkl":
            write_ada(path, tensors)
        with pytest.raises(LoadError, match="expected an unconditional generator; this one needs class labels"):
            pspnb.load_generator(path)


def test_a_generator_pickled_alone(tmp_path):
    tensors = ada_tensors()
    write_ada(tmp_path / "x.pkl", tensors)
    write_ada(tmp_path / "g.pkl", tensors, bare=lambda g, path: path.write_bytes(pickle.dumps(g)))
    expected, found = (pspnb.load_generator(tmp_path / name) for name in ("x.pkl", "g.pkl"))
    with torch.no_grad():
        assert torch.equal(found(_z(found)), expected(_z(found)))


def test_a_whole_module_saved_with_torch_says_what_to_do(tmp_path):
    write_ada(tmp_path / "g.pt", ada_tensors(), bare=torch.save)
    torch.save(tiny_generator(), tmp_path / "h.pt")
    for name in ("g.pt", "h.pt"):
        with pytest.raises(
            LoadError, match=r"nothing of it was run; save its state_dict\(\) instead of the whole module"
        ):
            pspnb.load_generator(tmp_path / name)


def test_safetensors_files_of_models(tmp_path):
    psp = tiny_psp()
    content = psp_content(psp)
    tensors = {k: v.contiguous().clone() for k, v in content["state_dict"].items()}
    save_file({**tensors, "latent_avg": psp.latent_avg}, tmp_path / "a.safetensors")
    _same(pspnb.load(tmp_path / "a.safetensors"), psp)
    save_file(tensors, tmp_path / "b.safetensors", metadata={"opts": json.dumps({"start_from_latent_avg": False})})
    with torch.no_grad():
        x = image("x", 3, 32, 32)[None]
        assert torch.equal(pspnb.load(tmp_path / "b.safetensors").encode(x), psp.encoder(x))
    save_file(tensors, tmp_path / "c.safetensors", metadata={"start_from_latent_avg": "False"})
    assert not pspnb.load(tmp_path / "c.safetensors").start_from_latent_avg
    save_file(tensors, tmp_path / "d.safetensors")
    with pytest.raises(LoadError, match="nothing says whether codes start from the mean latent"):
        pspnb.load(tmp_path / "d.safetensors")
    generator = tiny_generator()
    save_file({k: v.clone() for k, v in generator.state_dict().items()}, tmp_path / "g.safetensors")
    loaded = pspnb.load_generator(tmp_path / "g.safetensors")
    with torch.no_grad():
        assert torch.equal(loaded(_z(loaded)), generator(_z(loaded)))
    data = (tmp_path / "g.safetensors").read_bytes()
    (tmp_path / "cut.safetensors").write_bytes(data[: len(data) // 2])
    save_file(tensors, tmp_path / "o.safetensors", metadata={"opts": "[1"})
    for name in ("cut.safetensors", "o.safetensors"):
        with pytest.raises(LoadError, match=f"{name}: damaged safetensors file"):
            pspnb.load(tmp_path / name)
