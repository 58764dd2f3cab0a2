"""Directions: each method against a second derivation, files of them, and edits by name from the shell."""

import numpy as np
import pytest
import torch
from _files import STYLE_DIM, psp_content, tiny_generator, tiny_psp
from _golden import uint8_image
from PIL import Image
from safetensors.torch import save_file
from torch import nn

import pspnb
from pspnb import cli
from pspnb.editing.directions import (
    Direction,
    attribute,
    closest,
    ganspace,
    interfacegan,
    read_directions,
    save_directions,
    sefa,
    true_direction,
    true_shifts,
)
from pspnb.editing.named import named_shift, parse_edits
from pspnb.errors import LoadError, PspnbError
from pspnb.world2 import edit, sample_factors

NEED_A_FILE = "edits by name need a file of directions for this model; expected --directions FILE"


def _codes(n=3000, d=12, seed=0):
    """Codes whose axes have standard deviations 3, 1, 1, ... and the attribute along axis 1, apart from the largest."""
    draw = torch.Generator().manual_seed(seed)
    codes = torch.randn(n, d, generator=draw) * torch.tensor([3.0] + [1.0] * (d - 1))
    return codes, codes[:, 1] + 0.1 * torch.randn(n, generator=draw)


def _cosine(direction, axis):
    return float(direction.vector[axis] / direction.vector.norm())


class Taught(nn.Module):
    """A mapping that is linear in yaw and in the choice of glasses, so that its true directions are known."""

    def map_factors(self, factors):
        w = torch.zeros(len(factors["yaw"]), STYLE_DIM)
        w[:, 0], w[:, 1] = 0.5 * factors["yaw"], factors["smile"] ** 2
        w[torch.arange(len(w)), 4 + factors["glasses"]] = 1
        return w


@pytest.fixture
def taught():
    generator = tiny_generator(z_dim=STYLE_DIM)
    generator.style = Taught()
    return generator


# ---- the methods --------------------------------------------------------------------------------------------------


def test_interfacegan_finds_the_axis_of_the_scores():
    codes, scores = _codes()
    found = interfacegan(codes, scores, name="a", share=0.05)
    assert _cosine(found, 1) > 0.97 and (found.name, found.method) == ("a", "interfacegan")
    assert float(found.vector.norm()) == pytest.approx(float(found.projected(codes).std()), rel=1e-5)
    assert _cosine(interfacegan(codes, -scores, name="a", share=0.05), 1) < -0.97
    in_w_plus = torch.stack([torch.randn(3000, 12, generator=torch.Generator().manual_seed(9)), codes], dim=1)
    found = interfacegan(in_w_plus, scores, name="a", share=0.05)
    assert found.vector.shape == (2, 12) and float(found.vector[1, 1] / found.vector.norm()) > 0.9


def test_interfacegan_takes_choices_and_refuses_what_cannot_be_parted():
    codes, scores = _codes()
    rare = (scores > 1.5).float()
    assert _cosine(interfacegan(codes, rare, name="a"), 1) > 0.8
    with pytest.raises(PspnbError, match="high scores"):
        interfacegan(codes, torch.zeros(3000), name="a")
    with pytest.raises(PspnbError, match="one finite score"):
        interfacegan(codes, scores.clone().fill_(torch.nan), name="a")
    with pytest.raises(PspnbError, match="share above 0"):
        interfacegan(codes, scores, name="a", share=0.0)


def test_ganspace_is_the_eigenvectors_of_the_covariance():
    codes = _codes()[0] @ torch.linalg.qr(torch.randn(12, 12, generator=torch.Generator().manual_seed(3))).Q
    found = ganspace(codes, n=3)
    values, vectors = torch.linalg.eigh(torch.cov(codes.T.double()))
    assert abs(float(found[0].vector.double() @ vectors[:, -1])) == pytest.approx(float(values[-1].sqrt()), rel=1e-3)
    assert float(found[0].vector.norm()) == pytest.approx(3, rel=0.1)
    with pytest.raises(PspnbError, match="at most 12 components"):
        ganspace(codes, n=13)


def test_sefa_moves_the_styles_most():
    """Against the Jacobian of all modulations, by automatic differentiation."""
    generator = tiny_generator()
    convs = [generator.conv1, *generator.convs]

    def styles(w):
        return torch.cat([layer.conv.modulation(w[None])[0] for layer in convs])

    jacobian = torch.autograd.functional.jacobian(styles, torch.randn(STYLE_DIM))
    first, *_, last = sefa(generator, n=STYLE_DIM)
    _, s, v = torch.linalg.svd(jacobian)
    assert abs(float(first.vector @ v[0])) == pytest.approx(1, abs=1e-3)
    assert float((jacobian @ first.vector).norm()) == pytest.approx(float(s[0]), rel=1e-4)
    assert float((jacobian @ last.vector).norm()) == pytest.approx(float(s[-1]), rel=1e-2)
    part = sefa(generator, n=1, layers=[2, 3])[0].vector
    assert part.shape == (8, STYLE_DIM) and part[[2, 3]].norm() > 0 and part[[0, 1, 4, 5, 6, 7]].norm() == 0
    with pytest.raises(PspnbError, match="layers within 0-6"):
        sefa(generator, layers=[7])


def test_the_true_direction_of_a_mapping_that_is_known(taught):
    yaw = true_direction(taught, attribute("yaw"), n=300)
    assert yaw.unit == "degrees" and torch.allclose(yaw.vector, 0.5 * torch.eye(STYLE_DIM)[0], atol=1e-5)
    smile = true_direction(taught, attribute("smile"), n=4000).vector
    # [(s + d)^2 - s^2] / d = 2 s + d upwards and 2 s - d downwards, where the range ends: a mean over s in [-.4, 1], d = .35
    s = torch.linspace(-0.4, 1, 100_001)
    assert float(smile[1]) == pytest.approx(float((2 * s + torch.where(s <= 0.65, 0.35, -0.35)).mean()), abs=0.03)
    worn = true_direction(taught, attribute("glasses:round"), n=4000)
    assert float(worn.vector[5]) == pytest.approx(1, abs=1e-5) and worn.unit == "the choice"
    assert float(worn.vector[4]) == pytest.approx(-0.70 / 0.88, abs=0.03)  # most of those without round ones wear none
    with pytest.raises(PspnbError, match="taught factors"):
        true_direction(tiny_generator(), attribute("yaw"))


def test_a_sample_has_its_own_difference(taught):
    f = edit(sample_factors(3, 8), smile=0.2, glasses="none")
    own = true_shifts(taught, f, attribute("smile"), 0.5)
    assert torch.allclose(own[:, 1], torch.full((8,), 0.7**2 - 0.2**2)) and float(own[:, 0].abs().max()) == 0
    assert torch.equal(true_shifts(taught, f, attribute("glasses:tinted"), 1.0)[:, 4], -torch.ones(8))
    with pytest.raises(ValueError, match="smile"):
        true_shifts(taught, f, attribute("smile"), 1.0)


def test_attributes():
    f = edit(sample_factors(1, 4), smile=torch.tensor([-0.4, 0.0, 0.5, 1.0]), hat="cap")
    smile, cap = attribute("smile"), attribute("hat:cap")
    assert smile.possible(f, 0.5).tolist() == [True, True, True, False]
    assert smile.possible(f, -0.5).tolist() == [False, False, True, True]
    assert cap.scores(f).tolist() == [1] * 4 and not cap.possible(f, 1).any()
    assert attribute("hat:sun hat").possible(f, 1).all() and attribute("hat:sun hat").name == "hat:sun hat"
    wrongs = {
        "smil": "expected a factor",
        "hat": "hat:cap",
        "smile:x": "is a number",
        "hair_phase": "expected a factor",
    }
    for wrong, words in wrongs.items():
        with pytest.raises(PspnbError, match=words):
            attribute(wrong)


def test_the_closest_component_is_turned_towards_the_scores():
    codes, scores = _codes()
    axes = [Direction(str(i), "ganspace", "", torch.eye(12)[i]) for i in range(12)]
    found = closest(axes, codes, -scores, name="b")
    assert _cosine(found, 1) == pytest.approx(-1) and found.name == "b"
    assert float(found.vector.norm()) == pytest.approx(1, abs=0.1)


# ---- what can be done with one --------------------------------------------------------------------------------------


def test_without_and_on():
    a, b = torch.randn(2, 12, generator=torch.Generator().manual_seed(1))
    direction, other = Direction("a", "m", "u", a), Direction("b", "m", "u", b)
    left = direction.without([other])
    assert abs(float(left.vector @ b)) < 1e-5 and torch.allclose(left.vector, a - (a @ b) / (b @ b) * b, atol=1e-5)
    assert direction.without([]) is direction
    part = direction.on([1, 2], 4)
    assert torch.equal(part.vector, torch.stack([torch.zeros(12), a, a, torch.zeros(12)]))
    codes = torch.randn(5, 12, generator=torch.Generator().manual_seed(2))
    assert torch.allclose(part.projected(codes), direction.projected(codes) * 2**0.5)
    assert torch.allclose(part.projected(codes[:, None].expand(5, 4, 12)), part.projected(codes))
    assert torch.equal((direction * 2).in_unit("degrees").vector, 2 * a)
    with pytest.raises(PspnbError, match="layers within 0-3"):
        direction.on([4], 4)


def test_files_of_directions(tmp_path):
    path = tmp_path / "d.safetensors"
    kept = [
        Direction("smile", "truth", "relative", torch.randn(8)),
        Direction("hat:cap", "sefa", "steps", torch.randn(3, 8)),
    ]
    save_directions(path, kept)
    found = read_directions(path)
    assert list(found) == ["hat:cap", "smile"] or set(found) == {"hat:cap", "smile"}
    for direction in kept:
        read = found[direction.name]
        assert (read.method, read.unit) == (direction.method, direction.unit) and torch.equal(
            read.vector, direction.vector
        )
    with pytest.raises(PspnbError, match="different names"):
        save_directions(path, [kept[0], kept[0]])
    with pytest.raises(PspnbError, match=r"ends in \.safetensors"):
        save_directions(tmp_path / "d.npy", kept)
    save_file({"bare": torch.ones(8)}, path)
    assert read_directions(path)["bare"].method == "unknown"
    save_file({"x": torch.ones(8)}, path, metadata={"x": '["no mapping"]'})
    assert read_directions(path)["x"].unit == "lengths of the vector"


@pytest.mark.parametrize(
    "content",
    [b"", b"\x00" * 40, {"x": torch.full((8,), float("nan"))}, {"x": torch.ones(2, 2, 2)}, {"x": torch.ones(8).int()}],
)
def test_damaged_files_of_directions(tmp_path, content):
    path = tmp_path / "d.safetensors"
    path.write_bytes(content) if isinstance(content, bytes) else save_file(content, path)
    with pytest.raises(LoadError, match=r"^[^\n]*d\.safetensors: [^\n]*$"):
        read_directions(path)
    with pytest.raises(LoadError, match="No such file"):
        read_directions(tmp_path / "no.safetensors")


def test_edits_by_name(taught, tmp_path):
    assert parse_edits("smile=0.5, hat:sun hat=1") == {"smile": 0.5, "hat:sun hat": 1.0}
    for wrong in ("smile", "smile=", "=1", "smile=nan", "smile=1,", "a=1,a=2"):
        with pytest.raises(PspnbError, match="expected"):
            parse_edits(wrong)
    shift = named_shift(taught, {"yaw": 10.0})
    assert shift.shape == (8, STYLE_DIM) and torch.allclose(shift[:, 0], torch.full((8,), 5.0), atol=1e-4)
    path = tmp_path / "d.safetensors"
    save_directions(path, [Direction("a", "m", "u", torch.ones(STYLE_DIM)), Direction("b", "m", "u", torch.ones(7))])
    assert torch.equal(named_shift(taught, {"a": -2.0}, directions=path), torch.full((8, STYLE_DIM), -2.0))
    with pytest.raises(PspnbError, match=r"no direction 'smile'; there are a, b"):
        named_shift(taught, {"smile": 1.0}, directions=path)
    with pytest.raises(PspnbError, match=r"b: expected a direction of shape \(8, 32\)"):
        named_shift(taught, {"b": 1.0}, directions=path)
    with pytest.raises(PspnbError, match="--directions FILE"):
        named_shift(tiny_generator(), {"smile": 1.0})


def test_edits_from_the_shell(tmp_path, capsys):
    torch.save(psp_content(tiny_psp()), tmp_path / "photo.pt")
    Image.fromarray(uint8_image("a", 32, 32, 3)).save(tmp_path / "a.png")
    save_directions(tmp_path / "d.safetensors", [Direction("smile", "truth", "relative", torch.ones(STYLE_DIM))])
    command = [
        "translate",
        "--model",
        tmp_path / "photo.pt",
        "--input",
        tmp_path / "a.png",
        "--output",
        tmp_path / "out",
    ]

    def run(*more):
        code = cli.main([str(a) for a in (*command, "--overwrite", *more)])
        return code, capsys.readouterr().err.splitlines()

    assert run("--codes", tmp_path / "codes.safetensors")[0] == 0
    plain = np.asarray(Image.open(tmp_path / "out" / "a.png"))
    assert run("--edit", "smile=0.5", "--directions", tmp_path / "d.safetensors")[0] == 0
    found = np.asarray(Image.open(tmp_path / "out" / "a.png")).astype(int)
    psp = pspnb.load(tmp_path / "photo.pt")
    from pspnb.editing.codes import read_codes
    from pspnb.transforms import to_uint8

    with torch.no_grad():
        expected = to_uint8(psp.decode(read_codes(tmp_path / "codes.safetensors")["a"][None] + 0.5)[0])
    assert abs(found - expected).max() <= 1 < abs(found - plain).max()
    code, lines = run("--edit", "smile=1")
    assert code == 2 and lines == [f"pspnb: {NEED_A_FILE}"]
    code, lines = run("--directions", tmp_path / "d.safetensors")
    assert code == 2 and "belongs to --edit" in lines[0] and len(lines) == 1
