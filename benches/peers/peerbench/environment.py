"""The virtual environment and the Rust driver. Only the standard library is there when this runs.

In: the work folder. Out: this process runs again with the environment's Python; the path of the built driver, and the
commit it is built from.
"""

import hashlib
import os
import subprocess
import sys
import venv
from pathlib import Path

HERE = Path(__file__).resolve().parent.parent
ROOT = HERE.parent.parent
REQUIREMENTS = HERE / "requirements.txt"


def enter(work, log):
    """Installs what is required once, and runs the program again inside. Returns when inside."""
    folder = work / "venv"
    python, stamp = folder / "bin" / "python", folder / "installed"
    wanted = hashlib.sha256(REQUIREMENTS.read_bytes()).hexdigest()
    if not stamp.exists() or stamp.read_text() != wanted:
        log(f"installing requirements.txt into {folder}")
        try:
            venv.create(folder, with_pip=True)
        except subprocess.CalledProcessError:
            raise SystemExit(f"cannot make a virtual environment in {folder}: install Python's venv and pip") from None
        command("installing requirements.txt", [python, "-m", "pip", "install", "--quiet", "-r", REQUIREMENTS])
        stamp.write_text(wanted)
    if Path(sys.prefix).resolve() != folder.resolve():
        os.execv(python, [str(python), *sys.argv])


def build_driver(log):
    """Builds the Rust driver. Returns its path."""
    log("building the Rust driver")
    command("building the Rust driver", ["cargo", "build", "--release", "--locked", "-p", "rustling-peers"])
    target = Path(os.environ.get("CARGO_TARGET_DIR", ROOT / "target"))
    return ROOT / target / "release" / "rustling-peers"


def revision():
    """The commit that is measured, with `+` if files differ from it; `unknown` outside of a repository."""
    try:
        told = subprocess.run(["git", "describe", "--always", "--dirty=+"], cwd=ROOT, capture_output=True, text=True)
    except FileNotFoundError:
        return "unknown"
    return told.stdout.strip() if told.returncode == 0 else "unknown"


def command(doing, words):
    """Runs a program, whose output the user sees; one that is missing or fails ends this one with a sentence."""
    try:
        subprocess.run(words, cwd=ROOT, check=True)
    except FileNotFoundError:
        raise SystemExit(f"{doing}: there is no `{words[0]}`; README.md says what is needed") from None
    except subprocess.CalledProcessError as failure:
        raise SystemExit(f"{doing}: `{words[0]}` ended with exit code {failure.returncode}; see above") from None
