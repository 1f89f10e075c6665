"""The virtual environment and the Rust driver. Only the standard library is there when this runs.

In: the work folder. Out: this process runs again with the environment's Python; the path of the built driver.
"""

import hashlib
import os
import subprocess
import sys
import venv
from pathlib import Path

HERE = Path(__file__).resolve().parent.parent
ROOT = HERE.parent.parent


def enter(work, log):
    """Installs what is required once, and runs the program again inside. Returns when inside."""
    folder = work / "venv"
    python, stamp = folder / "bin" / "python", folder / "installed"
    wanted = hashlib.sha256((HERE / "requirements.txt").read_bytes()).hexdigest()
    if not stamp.exists() or stamp.read_text() != wanted:
        log(f"installing requirements.txt into {folder}")
        venv.create(folder, with_pip=True)
        subprocess.run([python, "-m", "pip", "install", "--quiet", "-r", HERE / "requirements.txt"], check=True)
        stamp.write_text(wanted)
    if Path(sys.prefix).resolve() != folder.resolve():
        os.execv(python, [str(python), *sys.argv])


def build_driver(log):
    """Builds the Rust driver. Returns its path."""
    log("building the Rust driver")
    subprocess.run(["cargo", "build", "--release", "--locked", "-p", "rustling-peers"], cwd=ROOT, check=True)
    target = Path(os.environ.get("CARGO_TARGET_DIR", ROOT / "target"))
    return ROOT / target / "release" / "rustling-peers"
