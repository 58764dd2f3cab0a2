"""`pspnb evaluate`: the metrics of one model, or the paper's Table 1."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

from tyro.conf import Positional, arg

from pspnb.cli.options import Device, MovedGenerator, optional, refuse_given
from pspnb.errors import PspnbError
from pspnb.recipes.recipe import option


@dataclass(frozen=True)
class Evaluate:
    """Compute metrics of a model (identity similarity, LPIPS, MSE, PSNR, SSIM), with 95 % intervals; or reproduce Table 1."""

    what: Positional[Annotated[str | None, optional("MODEL")]] = None
    """Shipped model, checkpoint file, or the folder of a run; not with --table1."""
    table1: bool = False
    """Reproduce Table 1 of the paper: all shipped encoders, optimisation, and both combined, on the test split of Facets."""
    out: Annotated[Path, arg(metavar="FOLDER")] = Path("evaluation")
    """Output folder for metrics.json and worst.png (--table1: table1.json, table1.md and figures)."""
    data: Annotated[Path | None, option("FOLDER")] = None
    """Folder of test images (targets); default: the test split of Facets."""
    sources: Annotated[Path | None, option("FOLDER")] = None
    """Folder of input images (label maps, sketches), with the same file names as the targets."""
    n: Annotated[int | None, option("N")] = None
    """Use only the first N images; default: all (--table1: 1000)."""
    n_optimise: Annotated[int | None, option("N")] = None
    """--table1: number of images for the two rows with optimisation (slow); 0 leaves these rows out; default: 50."""
    task: Annotated[str | None, option("TEXT")] = None
    """Task of the model, if its file does not say."""
    generator: MovedGenerator = None
    identity: Annotated[Path | None, option("PATH")] = None
    """Face-recognition weights to score models not trained on Facets; default: identity similarity is not computed."""
    lpips: Annotated[Path | None, option("PATH")] = None
    """AlexNet weights for LPIPS, for models not trained on Facets; default: downloaded once."""
    inversion: Annotated[str | None, option("MODEL")] = None
    """Inversion model to compare the scores with; default: the shipped one, if it uses the same generator."""
    seed: Annotated[int, arg(metavar="N")] = 0
    """Random seed for confidence intervals and for random inputs of the task (such as downsampling factors)."""
    device: Device = "auto"

    def run(self) -> int:
        from pspnb.device import pick_device

        device = pick_device(self.device)
        if self.table1 == (self.what is not None):
            raise PspnbError("expected a run or model, or --table1: pspnb evaluate MODEL, pspnb evaluate --table1")
        if self.table1:
            from pspnb.measure.ablate import table1
            from pspnb.show.table1 import write_pictures

            alien = ("data", "sources", "task", "generator", "identity", "lpips", "inversion")
            refuse_given(self, alien, "is not an option of --table1, which is measured on Facets")
            n = 1000 if self.n is None else self.n
            optimised = min(50, n) if self.n_optimise is None else min(self.n_optimise, n)
            table1(out=self.out, n=n, n_optimise=optimised, seed=self.seed, device=device, draw=write_pictures)
            print((self.out / "table1.md").read_text(encoding="utf-8"))
            return 0
        from pspnb.measure.evaluate_encoder import evaluate
        from pspnb.show.table1 import write_worst

        refuse_given(self, ("n_optimise",), "belongs to --table1")
        assert self.what is not None
        result = evaluate(
            self.what,
            out=self.out,
            data=self.data,
            sources=self.sources,
            n=self.n,
            task=self.task,
            generator=self.generator,
            identity=self.identity,
            lpips=self.lpips,
            inversion=self.inversion,
            device=device,
            seed=self.seed,
            draw=write_worst,
        )
        for name, value in result["metrics"].items():
            print(f"{name:<12} {value['value']:.4f} [{value['lo']:.4f}, {value['hi']:.4f}]")
        print(_numbers_line(result["numbers"]))
        for line in _score_lines(result.get("application", {})):
            print(line)
        print(f"{result['n']} pictures of {result['data']} -> {self.out}")
        return 0


def _numbers_line(kept: dict[str, Any]) -> str:
    """How many numbers a model keeps of a picture."""
    return f"{'numbers':<12} {kept['codes']} of codes, {kept['feature']} of a feature: {kept['share']:.1%} of a picture"


def _score_lines(scores: dict[str, Any], name: str = "", depth: int = 3) -> list[str]:
    """A line for each score down to some depth: its value, its interval and its share of what inversion reaches."""
    if "value" in scores:
        numbers = [f"{scores[key]:.4f}" if scores[key] is not None else "-" for key in ("value", "lo", "hi")]
        share = scores.get("share_of_inversion", {}).get("value")
        reached = "" if share is None else f"  {share:.0%} of inversion"
        return [f"{name:<44} {numbers[0]} [{numbers[1]}, {numbers[2]}]{reached}"]
    lines: list[str] = []
    for key, value in scores.items():
        if isinstance(value, dict) and depth:
            lines += _score_lines(value, f"{name} {key}".strip(), depth - 1)
    return lines
