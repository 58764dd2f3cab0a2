"""The repository keeps its own rules: versions, table of contents, notebooks, README, no host of a package registry."""

import ast
import importlib
import json
import re
import shlex
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
import yaml

ROOT = Path(__file__).parent.parent
NOTEBOOKS = sorted((ROOT / "notebooks").glob("*.ipynb"))
PARAMETERS = {"SCALE", "MODE", "SEED", "DEVICE", "OUT"}


def _tracked() -> list[Path]:
    if shutil.which("git") is None or not (ROOT / ".git").exists():
        pytest.skip("expected a git checkout")
    names = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, text=True, check=True).stdout
    return [ROOT / name for name in names.split("\0") if name and (ROOT / name).is_file()]


def _pins() -> dict[str, str]:
    lines = (ROOT / "constraints.txt").read_text().splitlines()
    pins = [line.split("==") for line in lines if line.strip() and not line.startswith("#")]
    return {_normal(name): version.strip() for name, version in pins}


def _normal(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower().strip()


def _notebook(path: Path) -> dict:
    return json.loads(path.read_text(encoding="utf-8"))


def _code_cells(path: Path) -> list[dict]:
    return [c for c in _notebook(path)["cells"] if c["cell_type"] == "code" and "".join(c["source"]).strip()]


# ---- versions ----------------------------------------------------------------------------------------------------------


def test_jupyter_book_is_one_that_builds_offline():
    import jupyter_book

    assert int(jupyter_book.__version__.split(".")[0]) < 2
    extras = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["optional-dependencies"]["book"]
    assert [e for e in extras if e.startswith("jupyter-book") and "<2" in e]


def test_constraints_pin_everything_that_pyproject_names():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    wanted = [*project["dependencies"], *(e for extra in project["optional-dependencies"].values() for e in extra)]
    names = {_normal(re.split(r"[<>=!~ \[]", requirement)[0]) for requirement in wanted}
    assert names - _pins().keys() == set()


def test_conda_users_get_the_same_pins():
    environment = yaml.safe_load((ROOT / "environment.yml").read_text())
    pip = next(entry["pip"] for entry in environment["dependencies"] if isinstance(entry, dict))
    assert "-c constraints.txt" in pip and "-e .[book,test,dev]" in pip
    python = next(e.split("=")[1] for e in environment["dependencies"] if str(e).startswith("python="))
    assert python in ("3.11", "3.12", "3.13")


def test_this_environment_is_the_pinned_one():
    """The pins that matter most for numbers and pages, where the environment was made by make or from environment.yml."""
    if not (Path(sys.prefix) / ".installed").exists():
        pytest.skip("this environment was not made by make")
    from importlib.metadata import version

    for name in ("torch", "numpy", "jupyter-book", "sphinx", "myst-nb", "matplotlib", "nbval", "papermill"):
        assert version(name).split("+")[0] == _pins()[name], name


# ---- files -------------------------------------------------------------------------------------------------------------


def test_no_host_of_a_package_registry_is_named():
    hosts = ["py" + "pi.org", "python" + "hosted.org", "npm" + "js.", "deb." + "debian.org", "conda." + "anaconda.org"]
    found = []
    for path in _tracked():
        if path.suffix not in (".npz", ".safetensors", ".png", ".jpg", ".webp", ".onnx"):
            text = path.read_text(encoding="utf-8", errors="replace")
            found += [f"{path.relative_to(ROOT)}: {host}" for host in hosts if host in text]
    assert found == []


def test_files_stay_small():
    """Weights at most 4 MiB each and 60 MB together; anything else, notebooks with their pictures included, below 6 MB."""
    sizes = {path: path.stat().st_size for path in _tracked()}
    weights = [size for path, size in sizes.items() if path.suffix == ".safetensors"]
    assert max(weights, default=0) <= 4 * 2**20 and sum(weights) < 60e6
    assert [str(path) for path, size in sizes.items() if size > 6e6] == []


def test_table_of_contents_names_every_page():
    toc = (ROOT / "_toc.yml").read_text()
    named = set(re.findall(r"(?:file|root): (\S+)", toc))
    pages = {f"book/{p.stem}" for p in (ROOT / "book").glob("*.md")} | {f"notebooks/{p.stem}" for p in NOTEBOOKS}
    pages |= {f"book/lab/{p.stem}" for p in (ROOT / "book" / "lab").glob("*.md")}
    assert named == pages


_STUB = """#!/bin/sh
echo "$2 $HOME $PSPNB_CACHE $(ls -A "$HOME" | wc -l) $(ls -A "$PSPNB_CACHE" | wc -l) $(wc -c)" >> "$SEEN"
[ "$2" != "$FAIL" ]
"""


@pytest.fixture
def ci(tmp_path):
    """Runs a copy of .ci/run with a `make` that notes its target and surroundings: (exit code, output, notes)."""
    for name, text in (("make", _STUB), ("chromium", "#!/bin/sh\n"), ("apt-get", "#!/bin/sh\nexit 1\n")):
        (tmp_path / "bin").mkdir(exist_ok=True)
        (tmp_path / "bin" / name).write_text(text)
        (tmp_path / "bin" / name).chmod(0o755)
    (tmp_path / "repo" / ".ci").mkdir(parents=True)
    shutil.copy(ROOT / ".ci" / "run", tmp_path / "repo" / ".ci" / "run")
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "file").touch()

    def run(fail):
        environment = {"PATH": f"{tmp_path / 'bin'}:/usr/bin:/bin", "HOME": str(tmp_path / "mine"), "FAIL": fail}
        environment |= {"SEEN": str(tmp_path / "seen"), "PSPNB_CACHE": str(tmp_path / "mine"), "TMPDIR": str(tmp_path)}
        command = [str(tmp_path / "repo" / ".ci" / "run")]
        done = subprocess.run(command, env=environment, capture_output=True, text=True, input="typed", timeout=60)
        return done.returncode, done.stdout, [line.split() for line in (tmp_path / "seen").read_text().splitlines()]

    return run


@pytest.mark.parametrize("fail", ["", "lint", "test", "book"])
def test_ci_runs_every_stage_and_reports_a_failure(ci, fail):
    code, out, seen = ci(fail)
    assert [line[0] for line in seen] == ["install", "lint", "test", "book"] and code == (fail != "")
    assert [f"{stage:<15} exit {int(stage == fail)}" in out for stage in ("lint", "test", "book")] == [True] * 3


def test_ci_stops_where_nothing_could_be_installed(ci):
    code, _, seen = ci("install")
    assert code == 1 and [line[0] for line in seen] == ["install"]


def test_ci_has_what_a_stranger_has(ci, tmp_path):
    """Nothing typed; an empty home and an empty cache of its own for every stage but the installation."""
    _, _, (install, *stages) = ci("")
    assert install[1] == str(tmp_path / "mine")
    for _, home, cache, in_home, in_cache, typed in stages:
        assert str(tmp_path / "mine") not in (home, cache) and home != cache
        assert (in_home, in_cache, typed) == ("0", "0", "0")


# ---- notebooks -----------------------------------------------------------------------------------------------------------


def test_there_are_notebooks():
    assert NOTEBOOKS


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda p: p.stem)
def test_notebook_has_parameters_first(path):
    first = _code_cells(path)[0]
    assert "parameters" in first["metadata"].get("tags", [])
    assigned = {
        target.id
        for node in ast.parse("".join(first["source"])).body
        if isinstance(node, ast.Assign)
        for target in node.targets
        if isinstance(target, ast.Name)
    }
    assert assigned == PARAMETERS


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda p: p.stem)
def test_notebook_is_committed_with_its_outputs(path):
    cells = _code_cells(path)
    skipped = [c for c in cells if "skip-execution" in c["metadata"].get("tags", [])]
    ran = [c["execution_count"] for c in cells if c not in skipped]
    assert ran == list(range(1, len(ran) + 1)), "expected cells run once, in order: python tools/run_notebooks.py"
    assert all("nbval-skip" in c["metadata"]["tags"] for c in skipped)
    assert any(c["outputs"] for c in cells)
    for cell in cells:
        assert "execution" not in cell["metadata"], "expected no time stamps: python tools/run_notebooks.py"
        names = [o.get("name") for o in cell["outputs"]]
        assert "stderr" not in names and "error" not in [o["output_type"] for o in cell["outputs"]]


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda p: p.stem)
def test_every_picture_has_caption_and_description(path):
    for cell in _code_cells(path):
        if any(kind.startswith("image/") for o in cell["outputs"] for kind in o.get("data", {})):
            mystnb = cell["metadata"].get("mystnb", {})
            where = "".join(cell["source"])[:60]
            assert len(mystnb.get("image", {}).get("alt", "")) > 30, f"expected alt text at {where!r}"
            assert len(mystnb.get("figure", {}).get("caption", "")) > 20, f"expected a caption at {where!r}"
            assert mystnb["figure"].get("name", "").startswith("fig-")


WIDEST = 80  # characters that fit beside the table of contents at 1280 px


def _lines_but_imports(source: str) -> int:
    imports = [node for node in ast.parse(source).body if isinstance(node, (ast.Import, ast.ImportFrom))]
    return len(source.splitlines()) - sum(node.end_lineno - node.lineno + 1 for node in imports)


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda p: p.stem)
def test_no_line_of_code_is_wide(path):
    wide = [line for c in _code_cells(path) for line in "".join(c["source"]).splitlines() if len(line) > WIDEST]
    assert wide == [], f"expected lines of at most {WIDEST} characters: ruff format notebooks"


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda p: p.stem)
def test_code_cells_are_short(path):
    """What a reader sees at once; plotting code and tables, behind a button, may be longer."""
    for cell in _code_cells(path):
        source, tags = "".join(cell["source"]), cell["metadata"].get("tags", [])
        limit = 60 if {"hide-input", "remove-cell"} & set(tags) else 26
        assert _lines_but_imports(source) <= limit, f"expected the library or a second cell to hold some of {source!r}"


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda p: p.stem)
def test_plotting_code_is_hidden(path):
    for cell in _code_cells(path):
        source, tags = "".join(cell["source"]), cell["metadata"].get("tags", [])
        if "plt." in source:
            assert {"hide-input", "remove-cell"} & set(tags), f"expected the tag hide-input at {source[:60]!r}"


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda p: p.stem)
def test_chapter_has_its_parts(path):
    text = "\n".join("".join(c["source"]) for c in _notebook(path)["cells"] if c["cell_type"] == "markdown")
    for part in (
        "Objectives",
        "**Needs:**",
        "**Time:**",
        "## Quiz",
        "## Exercises",
        "## Summary",
        "## Further reading",
    ):
        assert part in text, f"expected {part!r}"
    labels = set(re.findall(r"\{exercise\}[^\n]*\n:label: (\S+)", text))
    solved = set(re.findall(r"\{solution\} (\S+)", text))
    assert labels and labels == solved


def _unanswered(cells: list[dict]) -> list[str]:
    """Questions "Predict first" that have no "Answer" before the next question, or more than six shown code cells later."""
    open_: str | None = None
    found: list[str] = []
    shown = 0
    for cell in cells:
        text, tags = "".join(cell["source"]), cell["metadata"].get("tags", [])
        if cell["cell_type"] == "code":
            shown += "remove-cell" not in tags
            continue
        for word, rest in re.findall(r"\*\*(Predict first|Answer):\*\*(?=(.{0,60}))", text, re.S):
            if open_ is not None and (word == "Predict first" or shown > 6):
                found.append(open_)
            open_, shown = rest if word == "Predict first" else None, 0
    return found + [open_] * (open_ is not None)


def test_an_unanswered_question_is_found():
    ask, answer = (
        {"cell_type": "markdown", "metadata": {}, "source": [f"**{w}:** why?"]} for w in ("Predict first", "Answer")
    )
    code = {"cell_type": "code", "metadata": {}, "source": ["1 + 1"]}
    assert _unanswered([ask, code, answer]) == []
    assert len(_unanswered([ask, code])) == 1
    assert len(_unanswered([ask, code, ask, code, answer])) == 1
    assert len(_unanswered([ask, *[code] * 7, answer])) == 1


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda p: p.stem)
def test_every_prediction_is_answered_within_the_next_screen(path):
    cells = _notebook(path)["cells"]
    asked = sum("".join(c["source"]).count("Predict first") for c in cells if c["cell_type"] == "markdown")
    marked = sum("".join(c["source"]).count("**Predict first:**") for c in cells if c["cell_type"] == "markdown")
    assert asked == marked > 0
    assert _unanswered(cells) == []


def test_exercises_are_named_not_numbered():
    """Their numbers are made by the build: a number in the text soon names another one."""
    texts = {
        page.name: page.read_text(encoding="utf-8")
        for page in (ROOT / "book").rglob("*.md")
        if "generated" not in page.parts
    }
    for path in NOTEBOOKS:
        cells = _notebook(path)["cells"]
        texts[path.name] = "\n".join("".join(c["source"]) for c in cells if c["cell_type"] == "markdown")
    found = [f"{name}: {hit}" for name, text in texts.items() for hit in re.findall(r"\b[Ee]xercises? \d+", text)]
    assert found == []


def test_references_have_links():
    text = (ROOT / "book" / "references.bib").read_text(encoding="utf-8")
    entries = re.findall(r"@\w+\{(\w+),(.*?)\n\}", text, re.S)
    assert len(entries) > 20
    unpublished = {"shangpsp"}  # a course report without an address
    missing = [key for key, body in entries if not re.search(r"^\s*(url|doi|eprint)\s*=", body, re.M)]
    assert set(missing) == unpublished


# ---- README --------------------------------------------------------------------------------------------------------------


def _blocks(language: str) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", (ROOT / "README.md").read_text(), re.S)


def test_readme_starts_with_the_two_commands():
    lines = _blocks("bash")[0].splitlines()
    assert [line.split("#")[0].strip() for line in lines] == ["make book", "make test"]
    makefile = (ROOT / "Makefile").read_text()
    assert all(
        re.search(rf"^{target}:", makefile, re.M) for target in ("book", "test", "lab", "weights", "bench", "clean")
    )


def test_readme_example_runs(tmp_path):
    """The first example needs nothing but the package: it is run as it stands."""
    code = _blocks("python")[0]
    assert "psp_ffhq" not in code
    done = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr[-2000:]
    assert (tmp_path / "faces.png").stat().st_size > 20_000


def test_readme_example_for_official_files_uses_names_that_exist():
    for node in ast.walk(ast.parse(_blocks("python")[1])):
        if isinstance(node, ast.ImportFrom):
            module = importlib.import_module(node.module)
            assert all(hasattr(module, alias.name) for alias in node.names), ast.unparse(node)
        if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name) and node.value.id in ("pspnb", "psp"):
            from pspnb.models.psp import PSP

            owner = PSP if node.value.id == "psp" else importlib.import_module("pspnb")
            assert hasattr(owner, node.attr), ast.unparse(node)


def test_readme_commands_have_the_options_they_use():
    for line in _blocks("bash")[1].splitlines():
        words = shlex.split(line, comments=True)
        assert words[0] == "pspnb"
        command = [sys.executable, "-m", "pspnb.cli", words[1], "--help"]
        shown = subprocess.run(
            command, capture_output=True, text=True, timeout=60, env={"COLUMNS": "200", "PATH": ""}
        ).stdout
        assert shown, f"expected help for {words[1]}"
        assert [w for w in words[2:] if w.startswith("--") and w not in shown] == []


# ---- the book's own tools --------------------------------------------------------------------------------------------------


@pytest.fixture
def extension(monkeypatch):
    monkeypatch.syspath_prepend(str(ROOT / "book" / "_ext"))
    return importlib.import_module("pspnb_book")


@pytest.mark.parametrize(
    ("remote", "address"),
    [
        ("git@github.com:someone/pspnb.git", "https://github.com/someone/pspnb"),
        ("https://github.com/someone/pspnb", "https://github.com/someone/pspnb"),
        ("ssh://git@github.com/someone/a.b.git/", "https://github.com/someone/a.b"),
        ("https://example.org/someone/pspnb.git", None),
    ],
)
def test_links_follow_the_clone(extension, monkeypatch, remote, address):
    monkeypatch.setenv("PSPNB_REPOSITORY", remote)
    assert extension.github_address() == address


def test_vendored_files_are_checked(monkeypatch, tmp_path):
    monkeypatch.syspath_prepend(str(ROOT / "tools"))
    vendor = importlib.import_module("vendor")
    package = vendor.PACKAGES[1]
    (tmp_path / package.archive).write_bytes(b"something else")
    monkeypatch.setattr(vendor, "find_npm", lambda: sys.exit("asked npm"))
    with pytest.raises(SystemExit, match="asked npm"):  # a wrong archive in the cache is not used
        vendor.fetch(package, tmp_path)


def test_every_listed_difference_has_its_test():
    """book/differences.md names tests; each of them is defined where it says."""
    named = re.findall(r"`(tests/\w+\.py)::(\w+)`", (ROOT / "book" / "differences.md").read_text())
    assert len(named) > 20
    missing = [f"{file}::{test}" for file, test in named if f"def {test}(" not in (ROOT / file).read_text()]
    assert missing == []
