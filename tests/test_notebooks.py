"""Every notebook runs with other parameters too: papermill, MODE=fast, another seed.

That the committed outputs are what the default parameters give is checked by `pytest --nbval notebooks/`.
"""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

NOTEBOOKS = sorted((Path(__file__).parent.parent / "notebooks").glob("*.ipynb"))


@pytest.mark.slow
@pytest.mark.parametrize("notebook", NOTEBOOKS, ids=lambda path: path.stem)
def test_runs_with_other_parameters(notebook, tmp_path):
    result = tmp_path / "out.ipynb"
    parameters = ["-p", "MODE", "fast", "-p", "SEED", "7", "-p", "OUT", str(tmp_path / "out")]
    command = [
        sys.executable,
        "-m",
        "papermill",
        str(notebook),
        str(result),
        *parameters,
        "--cwd",
        str(notebook.parent),
    ]
    environment = {**os.environ, "PYTHONWARNINGS": "default"}
    done = subprocess.run([*command, "--no-progress-bar"], capture_output=True, text=True, env=environment, timeout=240)
    assert done.returncode == 0, done.stderr[-3000:]
    cells = json.loads(result.read_text())["cells"]
    injected = [c for c in cells if "injected-parameters" in c["metadata"].get("tags", [])]
    assert len(injected) == 1 and "SEED = 7" in "".join(injected[0]["source"])
    assert all(c.get("execution_count") for c in cells if c["cell_type"] == "code" and "".join(c["source"]).strip())
