"""Four ways to find a direction, judged by the world: `python -m pspnb.measure.leakage --out DIR [--model NAME ...]`.

Every method is given the strength at which it gets as far as was asked, and then compared by what else moves, by identity and by
the distance to the rendered true edit of the same person, on generated images and on what models make of test images.
Chapter: "Directions".
"""

import argparse
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from torch import Tensor, nn

from pspnb.checks import at_least, seed_in_range
from pspnb.device import pick_device
from pspnb.editing.directions import Direction, attribute, find_directions, save_directions, true_shifts
from pspnb.errors import PspnbError
from pspnb.files.atomic import write_json
from pspnb.files.progress import progress_bar
from pspnb.files.provenance import stamp
from pspnb.measure.answer_key import check_has_answers
from pspnb.measure.edit_readings import Calibration, calibrate, read_factors
from pspnb.measure.edit_subjects import Subjects, encoded_subjects, generated_subjects
from pspnb.measure.edit_tradeoff import reconstruction, tradeoff
from pspnb.measure.edit_trial import Trial, measure_trial, rendered_trial, strength_for, trial
from pspnb.measure.intervals import ROUNDS, finite
from pspnb.measure.pairs import Instruments, shipped_instruments
from pspnb.models.load import load, load_generator
from pspnb.nn.stylegan2 import Generator

ATTRIBUTES = (
    *("yaw", "pitch", "smile", "mouth_open", "eye_open", "skin_tone"),
    *("hair_colour:blond", "glasses:round", "hat:cap", "beard:full"),
)
N_CODES = 20_000
"""Codes that the methods see."""
N_SEARCH, N_CALIBRATION = 48, 600
"""People on whom the strength is found, never those it is measured on; and on whom readings are calibrated."""


def judge_edits(
    generator: Generator,
    subjects: Subjects,
    instruments: Instruments,
    directions: Mapping[str, Mapping[str, Direction]],
    calibration: Mapping[str, Mapping[str, Calibration]],
    *,
    search: Subjects,
    n: int,
    rounds: int = ROUNDS,
    progress: bool = False,
) -> dict[str, Any]:
    """Attribute -> {unit, amount, methods: method -> numbers (`measure_trial`)}.

    Methods beside the directions': "none" (no edit), "own" (each person's own true difference, the best that W can do),
    "render" (the true edit itself, seen by the same instruments). `search`: other subjects, on whom strengths are found.
    `calibration`: of "generated" and of "rendered" pictures; an attribute is legible if it is so in generated ones.
    """
    out: dict[str, Any] = {}
    names = list(next(iter(directions.values())))
    for name in progress_bar(names, unit="attribute", wanted=progress):
        a = attribute(name)
        scale = calibration["generated"]
        t, finding = (trial(a, s, instruments, scale, n=k) for s, k in ((subjects, n), (search, N_SEARCH)))
        wanted = t.subjects.truth(t.asked)
        rows = {"none": measure_trial(t, t.subjects.images, wanted, rounds=rounds)}
        rows["own"] = measure_trial(t, t.subjects.edited(_own(generator, t)), wanted, rounds=rounds)
        rows["render"] = measure_trial(rendered_trial(t, calibration["rendered"]), wanted, wanted, rounds=rounds)
        target = a.step if a.choice is None else 0.9 * float(finding.after(_own(generator, finding)).mean())
        for method, found in directions.items():
            strength, curve, vector = _strength(finding, found[name], target)
            numbers = measure_trial(t, t.subjects.edited(t.shift(strength * vector)), wanted, rounds=rounds)
            rows[method] = {"strength": strength, "unit": found[name].unit, "curve": curve} | numbers
        facts = {"unit": a.unit, "amount": a.step, "target": target, "legible": scale[a.factor.name].legible}
        out[name] = facts | {"n": len(t.subjects), "methods": rows}
    return out


def _own(generator: Generator, t: Trial) -> Tensor:
    return true_shifts(generator, t.subjects.factors, t.attribute, t.amounts)[:, None]


def _strength(finding: Trial, direction: Direction, target: float) -> tuple[float, list[tuple[float, float]], Tensor]:
    """Strength in the direction's unit, the curve of strengths, and the vector on the subjects' device."""
    vector = direction.vector.to(finding.subjects.state.device)
    # A step of a true direction is its amount; of the others three standard deviations go from one end to the other.
    scale = finding.attribute.step if direction.method == "truth" else 1.5
    strength, curve = strength_for(finding, scale * vector, target)
    return strength * scale, [(s * scale, r) for s, r in curve], vector


def measure_leakage(
    generator: Generator,
    *,
    out: str | Path,
    models: Mapping[str, nn.Module] | None = None,
    attributes: Sequence[str] = ATTRIBUTES,
    instruments: Instruments | None = None,
    n: int = 200,
    n_codes: int = N_CODES,
    n_calibration: int = N_CALIBRATION,
    seed: int = 0,
    rounds: int = ROUNDS,
    progress: bool = False,
) -> dict[str, Any]:
    """Everything above, written to `out`/leakage.json; the directions to `out`/METHOD.safetensors, as long as one unit of the
    attribute where they reached it. Generator and models lie on one device."""
    check_has_answers(generator)
    at_least(20, n=n)
    at_least(1000, n_codes=n_codes)
    seed_in_range(seed)
    chosen, begin, out = [attribute(name) for name in attributes], time.perf_counter(), Path(out)
    device = generator.latent_avg.device
    provenance = stamp(seed=seed, device=str(device))
    instruments = shipped_instruments(device=device) if instruments is None else instruments
    directions = find_directions(generator, chosen, n=n_codes, seed=seed)
    search = generated_subjects(generator, n_calibration, seed=seed + 1)
    truth = search.truth()
    calibration = {
        kind: calibrate(search.factors, read_factors(instruments.factors, images))
        for kind, images in (("generated", search.images), ("rendered", truth))
    }
    groups: dict[str, Any] = {}
    for name, subjects in _groups(generator, models or {}, 2 * n, seed + 2):
        edits = judge_edits(
            generator, subjects, instruments, directions, calibration, search=search, n=n, rounds=rounds, progress=progress
        )  # fmt: skip
        groups[name] = {"attributes": edits, "reconstruction": reconstruction(subjects, subjects.truth(), instruments)}
    result = {
        "provenance": provenance | {"seconds": round(time.perf_counter() - begin, 1)},
        "settings": {"n": n, "n_codes": n_codes, "attributes": list(attributes), "methods": list(directions)},
        "calibration": {kind: {name: asdict(c) for name, c in scale.items()} for kind, scale in calibration.items()},
        "subjects": groups,
        "tradeoff": tradeoff(groups),
    }
    write_json(out / "leakage.json", finite(result))
    for method, found in directions.items():
        rows = groups["generated"]["attributes"]
        save_directions(out / f"{method}.safetensors", [_in_units(d, rows[d.name], method) for d in found.values()])
    return result


def _groups(generator: Generator, models: Mapping[str, nn.Module], n: int, seed: int) -> Iterator[tuple[str, Subjects]]:
    yield "generated", generated_subjects(generator, n, seed=seed)
    for name, model in models.items():
        yield name, encoded_subjects(model, n, size=generator.size, device=generator.latent_avg.device)


def _in_units(direction: Direction, row: Mapping[str, Any], method: str) -> Direction:
    """As long as one unit of the attribute, where the method got there."""
    numbers = row["methods"][method]
    if numbers["reached"]["value"] < 0.5 * row["target"] or not numbers["strength"]:
        return direction
    return (direction * (numbers["strength"] / row["amount"])).in_unit(row["unit"])


def main(arguments: Sequence[str] | None = None) -> int:
    """The command; 2 for what cannot be measured."""
    given = _parser().parse_args(arguments)
    try:
        device = pick_device(given.device)
        measure_leakage(
            load_generator(given.generator, device=device),
            out=given.out,
            models={name: load(name, device=device) for name in given.model},
            attributes=given.attribute or ATTRIBUTES,
            n=given.n,
            n_codes=given.n_codes,
            seed=given.seed,
            progress=True,
        )
    except (PspnbError, ValueError, OSError) as error:
        print(f"pspnb.measure.leakage: {' '.join(str(error).split())}", file=sys.stderr)
        return 2
    print(f"-> {given.out / 'leakage.json'}")
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m pspnb.measure.leakage", description="Judge edits by the known world."
    )
    parser.add_argument("--out", type=Path, required=True, help="folder of leakage.json and the directions")
    parser.add_argument(
        "--generator", default="world2/generator", help="shipped name, file, or run (default world2/generator)"
    )
    parser.add_argument("--model", action="append", default=[], help="an encoder to be judged too; may be repeated")
    parser.add_argument("--attribute", action="append", help="such as smile or glasses:round; may be repeated")
    parser.add_argument("--n", type=int, default=200, help="people for each attribute (default 200)")
    parser.add_argument("--n-codes", type=int, default=N_CODES, help=f"codes that the methods see (default {N_CODES})")
    parser.add_argument("--seed", type=int, default=0, help="of codes and people")
    parser.add_argument("--device", default="auto", help="auto, cpu, cuda, ...")
    return parser


if __name__ == "__main__":
    sys.exit(main())
