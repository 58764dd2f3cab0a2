"""`import pspnb` is light: no plotting, no widgets, no GPU, no network, and little time beyond `import torch`."""

import statistics
import subprocess
import sys

HEAVY = (
    "matplotlib",
    "ipywidgets",
    "IPython",
    "lpips",
    "torchvision",
    "cv2",
    "scipy",
    "pooch",
    "torchmetrics",
    "sklearn",
    "av",
    "pandas",
)

LIGHT_MODULES = (
    "pspnb",
    "pspnb.models.psp",
    "pspnb.losses",
    "pspnb.tasks",
    "pspnb.transforms",
    "pspnb.facets",
    "pspnb.models.official",
    "pspnb.models.zoo",
    "pspnb.training.gan",
    "pspnb.training.ranger",
)


def _python(code: str) -> str:
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr[-2000:]
    return done.stdout.strip()


def test_import_loads_nothing_heavy():
    """Each module in an interpreter that has imported torch alone: a fork, because importing torch takes two seconds."""
    code = f"""
import importlib, os, sys, torch
for name in {LIGHT_MODULES!r}:
    if os.fork() == 0:
        importlib.import_module(name)
        print(name, [m for m in {HEAVY!r} if m in sys.modules], flush=True)
        os._exit(0)
    os.wait()
"""
    assert _python(code).splitlines() == [f"{name} []" for name in LIGHT_MODULES]


def test_the_list_of_heavy_modules_would_notice():
    """matplotlib is named by the check once viz is imported: the check above can fail."""
    code = f"import sys, pspnb.show.figures; print([m for m in {HEAVY!r} if m in sys.modules])"
    assert "matplotlib" in _python(code) and "ipywidgets" not in _python(code)


def test_import_touches_no_gpu_and_no_network():
    code = """
import socket, torch
def refuse(*args, **kwargs):
    raise RuntimeError("expected no connection at import")
socket.socket.connect = socket.create_connection = socket.getaddrinfo = refuse
torch.cuda._lazy_init = refuse
import pspnb
names = pspnb.available()
assert isinstance(names, list)
print(torch.cuda.is_initialized())
"""
    assert _python(code) == "False"


def test_import_costs_little_more_than_torch():
    """At most 1.2 times `import torch`, both timed in fresh interpreters, in turns; the medians of three are compared."""
    code = "import time; t = time.process_time(); import {}; print(time.process_time() - t)"

    def ratio() -> float:
        times = {"torch": [], "pspnb": []}
        for _ in range(3):
            for name, found in times.items():
                found.append(float(_python(code.format(name))))
        return min(
            statistics.median(times["pspnb"]) / statistics.median(times["torch"]),
            min(times["pspnb"]) / min(times["torch"]),
        )

    # Another process on the machine can slow one of the two: measure again before believing a bad ratio.
    assert any(ratio() <= 1.2 for _ in range(3))
