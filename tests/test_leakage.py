"""Edits judged: a world of three factors that pixels hold, in which every number is known; then the whole command, small."""

import json
from unittest.mock import Mock

import pytest
import torch
from torch import nn

from pspnb.editing.directions import attribute, read_directions
from pspnb.measure import leakage
from pspnb.measure.edit_readings import Calibration, calibrate, moved, read_factors
from pspnb.measure.edit_subjects import Subjects
from pspnb.measure.edit_tradeoff import tradeoff
from pspnb.measure.edit_trial import Trial, measure_trial, strength_for, trial
from pspnb.measure.pairs import Instruments
from pspnb.models.prior_mapping import PriorMapping
from pspnb.nn.instruments import FactorNet
from pspnb.nn.stylegan2 import Generator
from pspnb.world2 import edit, sample_factors
from pspnb.world2.prior import Z_DIM

SMILE, YAW = (-0.4, 1.0), (-40.0, 40.0)


class Reads(FactorNet):
    """Says what the first pixels of a picture hold; a quarter there is one unit of the raw output."""

    def __init__(self):
        nn.Module.__init__(self)
        self.heads, self.ranges = {"smile": 1, "yaw": 1, "glasses": 4}, {"smile": SMILE, "yaw": YAW}

    def forward(self, x):
        held = 4 * x[:, 0, 0]
        return {"smile": held[:, 0], "yaw": held[:, 1], "glasses": held[:, 2:6]}


def _draw(state, shift):
    image = torch.zeros(len(state), 3, 64, 64)
    codes = state[:, None] if shift is None else state[:, None] + shift
    image[:, 0, 0, :6] = codes[:, 0] / 4
    return image


@pytest.fixture
def subjects():
    """Thirty people; their smiles are drawn half as strong as they should be."""
    f = edit(sample_factors(4, 30), glasses="none", smile=torch.linspace(-0.4, 0.6, 30))
    smile = 0.5 * (2 * (f["smile"] - SMILE[0]) / (SMILE[1] - SMILE[0]) - 1)
    glasses = torch.tensor([1.0, 0.0, 0.0, 0.0]).expand(30, 4)
    state = torch.cat([smile[:, None], f["yaw"][:, None] / 40, glasses], dim=1)
    return Subjects(f, state, _draw, _draw(state, None))


@pytest.fixture
def instruments():
    """The instrument of this world; the others compare the first pixel."""
    nets = Mock(spec=Instruments)
    nets.factors, nets.perceptual_eval = Reads(), Mock()
    nets.perceptual_eval.features = lambda x: x[:, 0, 0, 0]
    nets.perceptual_eval.distance = lambda a, b: (a - b).abs()
    nets.identity_eval = lambda x: torch.stack([torch.ones(len(x)), x[:, 0, 0, 0]], dim=1)
    return nets


@pytest.fixture
def smiles(subjects, instruments):
    scale = calibrate(subjects.factors, read_factors(instruments.factors, subjects.images))
    return trial(attribute("smile"), subjects, instruments, scale, n=20)


def test_calibration_finds_the_slope(subjects, instruments):
    found = calibrate(subjects.factors, read_factors(instruments.factors, subjects.images))
    assert found["smile"].slope == pytest.approx(0.5, abs=1e-4) and found["yaw"].slope == pytest.approx(1, abs=1e-4)
    assert found["smile"].quality == pytest.approx(1, abs=1e-3) and found["smile"].legible
    noise = {"smile": torch.randn(30, generator=torch.Generator().manual_seed(0))}
    assert not calibrate(subjects.factors, noise)["smile"].legible
    opposite = {"smile": -subjects.factors["smile"]}
    assert not calibrate(subjects.factors, opposite)["smile"].legible  # it says less where there is more


def test_readings_leave_the_range_of_the_world():
    x = torch.zeros(1, 3, 64, 64)
    x[0, 0, 0, 1] = 0.5
    assert float(read_factors(Reads(), x)["yaw"]) == pytest.approx(80)


def test_moved():
    assert moved(torch.tensor([1.0, 2.0]), torch.tensor([1.5, 1.0])).tolist() == [0.5, 1.0]
    assert moved(torch.eye(2), torch.tensor([[0.6, 0.4], [0.6, 0.4]])).tolist() == [0, 1]


def test_a_trial_asks_for_what_is_possible(smiles):
    assert len(smiles.subjects) == 20 and (smiles.amounts == 0.35).sum() == 20  # the first twenty smile below .65
    hats = trial(attribute("glasses:none"), smiles.subjects, smiles.instruments, smiles.calibration, n=20)
    assert len(hats.subjects) == 0


def _vector(smile=0.0, yaw=0.0):
    return torch.tensor([smile, yaw, 0.0, 0.0, 0.0, 0.0])


def test_the_strength_that_gets_as_far_as_asked(smiles):
    # 0.7 of the factor is 1 of the raw output, of which this world draws half: a step of .35 is a quarter there
    strength, curve = strength_for(smiles, _vector(smile=0.2), 0.35)
    assert strength == pytest.approx(1.25, rel=1e-3) and curve[0] == (0.0, 0.0)
    strength, curve = strength_for(smiles, _vector(smile=0.001), 0.35)
    assert strength == 3.5 and curve[-1][1] == pytest.approx(3.5 * 0.0014, rel=1e-2)


def test_the_numbers_of_a_trial(smiles):
    shift, wanted = smiles.shift(_vector(smile=0.25, yaw=0.1)), torch.zeros(20, 3, 64, 64)
    row = measure_trial(smiles, smiles.subjects.edited(shift), wanted, rounds=50)
    assert row["distance"]["value"] == pytest.approx(
        float((smiles.subjects.state[:, 0] + 0.25).abs().mean() / 4), rel=1e-3
    )
    assert row["reached"]["value"] == pytest.approx(0.35, rel=1e-3)
    yaw = smiles.calibration["yaw"]
    assert row["matrix"]["yaw"]["value"] == pytest.approx(4 / yaw.between, rel=1e-3)  # a tenth of 40 degrees
    assert "glasses" not in row["matrix"]  # everyone wears none: nothing to tell apart
    assert row["leak"] == pytest.approx(row["matrix"]["yaw"]["value"])
    nothing = measure_trial(smiles, smiles.subjects.images, wanted, rounds=0)
    assert nothing["leak"] == 0 and nothing["identity"]["value"] == pytest.approx(1)
    assert row["identity"]["value"] < 0.999


def test_backwards_where_the_range_ends(subjects, instruments):
    f = edit(subjects.factors, smile=torch.linspace(0.7, 1.0, 30))
    scale = {"smile": Calibration(0.5, 1.0, True, 0.3)}
    t = trial(attribute("smile"), Subjects(f, subjects.state, _draw, subjects.images), instruments, scale, n=20)
    assert isinstance(t, Trial) and bool((t.amounts == -0.35).all())
    assert float(t.after(t.shift(_vector(smile=0.25))).mean()) == pytest.approx(0.35, rel=1e-3)  # downwards, as asked


def test_the_tradeoff_leaves_out_what_cannot_be_read():
    numbers = {"distance": 0.1, "mse": 0.2, "identity": 0.9, "reached": 5.0}
    edited = {k: {"value": v} for k, v in numbers.items()} | {"leak": 0.3}
    group = {"reconstruction": {k: {"value": 1.0} for k in ("lpips", "mse", "similarity")}}
    legible = {"target": 10.0, "legible": True, "methods": {"truth": edited}}
    group["attributes"] = {"a": legible, "b": {"target": 1.0, "legible": False, "methods": {"truth": edited}}}
    (row,) = tradeoff({"psp": group})
    assert row["edit_share"] == 0.5 and row["edit_distance"] == 0.1 and row["subjects"] == "psp"
    assert tradeoff({"psp": group}, method="sefa") == []


@pytest.mark.slow
def test_the_whole_measurement_on_a_tiny_generator(tmp_path):
    with torch.random.fork_rng():
        torch.manual_seed(0)
        mapping = PriorMapping(style_dim=16, hidden=24, n_mlp=2)
        generator = Generator(
            64, style_dim=16, z_dim=Z_DIM, mapping=mapping, noise=False, channels={4: 8, 8: 8, 16: 8, 32: 8, 64: 4}
        ).eval()
    result = leakage.measure_leakage(
        generator, out=tmp_path, attributes=["yaw"], n=20, n_codes=1000, n_calibration=20, rounds=0
    )
    written = json.loads((tmp_path / "leakage.json").read_text())
    edits = written["subjects"]["generated"]["attributes"]
    assert set(edits["yaw"]["methods"]) == {"none", "own", "render", "truth", "interfacegan", "ganspace", "sefa"}
    assert edits["yaw"]["methods"]["none"]["leak"] == 0 and edits["yaw"]["unit"] == "degrees"
    assert edits["yaw"]["methods"]["render"]["distance"]["value"] == pytest.approx(0, abs=1e-6)
    assert set(read_directions(tmp_path / "sefa.safetensors")) == {"yaw"}
    assert written["provenance"]["seed"] == 0 and result["settings"]["n"] == 20


def test_mistakes_are_one_line(tmp_path, capsys):
    arguments = ["--out", str(tmp_path), "--generator", "world2/generator", "--attribute", "smil"]
    assert leakage.main([*arguments, "--generator", str(tmp_path / "none.pt")]) == 2
    assert len(capsys.readouterr().err.splitlines()) == 1


# ---- figures --------------------------------------------------------------------------------------------------------


def _measured():
    cell = lambda value: {"value": value, "lo": None, "hi": None, "n": 20}  # noqa: E731
    smile = {
        "strength": 0.3,
        "curve": [[0.0, 0.0], [0.2, 0.2], [0.4, 0.5]],
        "matrix": {"smile": cell(0.4), "yaw": cell(0.01)},
    }
    yaw = {
        "strength": 9.0,
        "curve": [[0.0, 0.0], [5.0, 4.0]],
        "matrix": {"smile": cell(0.1), "yaw": cell(0.8), "age": cell(None)},
    }
    rows = {"smile": smile, "yaw": yaw}
    edits = {
        n: {"unit": "u", "amount": 1.0, "target": 0.3, "methods": {"truth": row, "none": {}}} for n, row in rows.items()
    }
    return {"subjects": {"generated": {"attributes": edits}}}


def test_the_leakage_matrix_is_drawn():
    from pspnb.show.editing import leakage_matrix, reach_curves, tradeoff_chart

    fig = leakage_matrix(_measured(), method="truth")
    axis = fig.axes[0]
    assert [t.get_text() for t in axis.get_xticklabels()] == ["smile", "yaw"]  # age moved nowhere
    assert {t.get_text() for t in axis.texts} == {"0.40", "0.01", "0.10", "0.80"}
    assert [t.get_text() for t in axis.get_yticklabels()] == ["smile", "yaw"]
    with pytest.raises(ValueError, match="method that was measured"):
        leakage_matrix(_measured(), method="sefa")
    with pytest.raises(ValueError, match="subjects that were measured"):
        leakage_matrix(_measured(), method="truth", subjects="psp")
    curves = reach_curves(_measured(), "smile").axes[0]
    assert curves.lines[0].get_ydata().tolist() == [0.0, 0.2, 0.5] and "smile" in curves.get_ylabel()
    points = [
        {"subjects": s, "reconstruction_lpips": x, "edit_distance": y} for s, x, y in (("a", 0.1, 0.2), ("b", 0.3, 0.1))
    ]
    drawn = tradeoff_chart(points).axes[0]
    assert [(float(k.get_xdata()[0]), float(k.get_ydata()[0])) for k in drawn.lines] == [(0.1, 0.2), (0.3, 0.1)]
