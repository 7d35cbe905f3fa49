# SPDX-FileCopyrightText: 2026 The kvmsnap.ontap authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""What every check stands on: interpreters, virtual environments, a clean PATH, a copy of the tracked files.

Only the standard library is used here, because this builds the first virtual environment.
As a program: ``ground.py venv NAME...`` builds environments, ``ground.py lock NAME...`` pins anew what
``tests/requirements/NAME.in`` asks for, and ``ground.py exec COMMAND...`` runs a command as the checks would.
"""

from __future__ import annotations

import contextlib
import dataclasses
import fcntl
import functools
import hashlib
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
BUILD = ROOT / "build"
LOGS = BUILD / "logs"
REPORTS = BUILD / "reports"
COLLECTIONS = BUILD / "collections"
REQUIREMENTS = ROOT / "tests" / "requirements"
SYSTEM_PYTHON = Path("/usr/bin/python3")
SYSTEM_PATH = ("/usr/local/sbin", "/usr/local/bin", "/usr/sbin", "/usr/bin", "/sbin", "/bin")
OLDEST, NEWEST = "3.9", "3.13"
PIP = "pip"
INSTALL_TIMEOUT = 900
STAMP = ".stamp"


@dataclasses.dataclass(frozen=True)
class Venv:
    """A virtual environment: its interpreter (None: the system's) and the pinned file it is made of."""

    name: str
    python: str | None = None


VENVS = {
    venv.name: venv
    for venv in (
        Venv(PIP),
        Venv("dev"),
        Venv("sanity-2.16"),
        Venv("importer"),
        Venv("oldest", python=OLDEST),
        Venv("netapp-collection"),
    )
}


def _runs(python: Path) -> bool:
    """Whether this interpreter starts: a shim for a version that is not there does not."""
    command = [str(python), "-I", "-c", "import venv, ensurepip"]
    try:
        subprocess.run(command, check=True, stdin=subprocess.DEVNULL, capture_output=True, timeout=30)
    except (OSError, subprocess.SubprocessError):
        return False
    return True


@functools.cache
def find_python(version: str) -> Path | None:
    """A real interpreter of this version (``"3.9"``), or None; shims that do not start are passed over."""
    pyenv = Path(os.environ.get("PYENV_ROOT") or Path.home() / ".pyenv") / "versions"
    places = [Path(place) for place in os.environ.get("PATH", os.defpath).split(os.pathsep) if place]
    places += sorted((place / "bin" for place in pyenv.glob(f"{version}.*")), reverse=True)
    for place in places:
        candidate = place / f"python{version}"
        if candidate.exists() and _runs(candidate):
            return candidate
    return None


def clean_path(*first: Path) -> str:
    """A PATH with nothing but the given places, the system's own, and at its end the oldest and the newest Python.

    ``ansible-test`` takes any ``pythonX.Y`` on the PATH for a real one, and dies on a shim without its interpreter.
    """
    places = [*first, *(Path(place) for place in SYSTEM_PATH)]
    for version in (OLDEST, NEWEST):
        python = find_python(version)
        if python is not None and python.resolve().parent not in places:
            places.append(python.resolve().parent)
    return os.pathsep.join(str(place) for place in places)


def environment(*first: Path, **extra: str) -> dict[str, str]:
    """The environment of a check: the caller's, a clean PATH, compiled files in the build folder, ours to import."""
    found = dict(os.environ)
    for name in ("PYTHONDONTWRITEBYTECODE", "PYTHONHOME", "VIRTUAL_ENV", "ANSIBLE_CONFIG"):
        found.pop(name, None)
    found.update(
        ANSIBLE_COLLECTIONS_PATH=str(COLLECTIONS),
        ANSIBLE_HOME=str(BUILD / "ansible"),
        ANSIBLE_NOCOLOR="1",
        ANSIBLE_DEVEL_WARNING="false",
        HOME=str(private_home("tools")),
        LC_ALL="C.UTF-8",
        PATH=clean_path(*first),
        PYTHONPYCACHEPREFIX=str(BUILD / "pycache"),
        NO_COLOR="1",
    )
    found.update(extra)
    return found


def import_path() -> str:
    """The PYTHONPATH of tests and lab."""
    parts = (COLLECTIONS, *(ROOT / "tests" / part for part in ("lab", "unit/support")))
    return os.pathsep.join(str(part) for part in parts)


@contextlib.contextmanager
def locked(name: str) -> Iterator[None]:
    """Only one process at a time builds what bears this name."""
    place = BUILD / "locks"
    place.mkdir(parents=True, exist_ok=True)
    with (place / name).open("w", encoding="utf-8") as handle:
        fcntl.flock(handle, fcntl.LOCK_EX)
        yield


def run(command: Iterable[str | Path], *, timeout: float, env: Mapping[str, str] | None = None) -> None:
    """Run a command of the ground; its failure ends the program with the command's own words."""
    words = [str(word) for word in command]
    completed = subprocess.run(words, stdin=subprocess.DEVNULL, timeout=timeout, env=env, cwd=ROOT, check=False)
    if completed.returncode != 0:
        raise SystemExit(f"failed ({completed.returncode}): {' '.join(words)}")


def _pip_environment() -> dict[str, str]:
    return dict(os.environ, PIP_DISABLE_PIP_VERSION_CHECK="1", PIP_ROOT_USER_ACTION="ignore", PIP_NO_INPUT="1")


def _interpreter(venv: Venv) -> Path:
    """The interpreter a virtual environment is made from; without the oldest one, the system's serves."""
    return (find_python(venv.python) if venv.python else None) or SYSTEM_PYTHON


def _create(place: Path, interpreter: Path, requirements: Path) -> None:
    """Create an environment and install a file into it: a ``.txt`` as it is, a ``.in`` with what that needs."""
    run([interpreter, "-m", "venv", "--clear", "--without-pip", place], timeout=INSTALL_TIMEOUT)
    options = [] if requirements.suffix == ".in" else ["--no-deps"]
    command = [
        *_pip(place),
        "install",
        "--quiet",
        "--quiet",
        "--no-compile",
        *options,
        "--requirement",
        str(requirements),
    ]
    run(command, timeout=INSTALL_TIMEOUT, env=_pip_environment())


def _pip(place: Path) -> list[str]:
    """The command of pip for an environment: a new one, much faster than the system's, kept by itself."""
    return [str(ensure_venv(PIP) / "bin" / "python"), "-m", "pip", "--python", str(place / "bin" / "python")]


def _create_pip(place: Path, interpreter: Path, requirements: Path) -> None:
    """Create the environment that holds nothing but pip."""
    run([interpreter, "-m", "venv", "--clear", place], timeout=INSTALL_TIMEOUT)
    command: list[str | Path] = [
        place / "bin" / "python",
        "-m",
        "pip",
        "install",
        "--quiet",
        "--quiet",
        "--requirement",
        requirements,
    ]
    run(command, timeout=INSTALL_TIMEOUT, env=_pip_environment())


def ensure_venv(name: str) -> Path:
    """The place of a virtual environment, built when it is missing or when what it is made of has changed."""
    venv = VENVS[name]
    place = BUILD / "venvs" / name
    requirements = REQUIREMENTS / f"{name}.txt"
    interpreter = _interpreter(venv)
    made_of = f"{interpreter.resolve()}\n".encode() + requirements.read_bytes()
    stamp = hashlib.sha256(made_of).hexdigest()
    stamp_file = place / STAMP
    with locked(f"venv-{name}"):
        if not stamp_file.is_file() or stamp_file.read_text(encoding="utf-8") != stamp:
            create = _create_pip if name == PIP else _create
            create(place, interpreter, requirements)
            stamp_file.write_text(stamp, encoding="utf-8")
    return place


def lock(name: str) -> None:
    """Resolve ``NAME.in`` in an environment of its own and write the pinned result to ``NAME.txt``.

    pip itself has no ``.in``: its one line is pinned by hand, the newest that still serves the oldest Python.
    """
    venv = VENVS[name]
    with tempfile.TemporaryDirectory(prefix="kvmsnap-lock-") as scratch:
        place = Path(scratch) / "venv"
        _create(place, _interpreter(venv), REQUIREMENTS / f"{name}.in")
        command = [*_pip(place), "freeze"]
        found = subprocess.run(command, check=True, capture_output=True, text=True, timeout=60, env=_pip_environment())
    pinned = sorted(line for line in found.stdout.splitlines() if "==" in line)
    (REQUIREMENTS / f"{name}.txt").write_text("\n".join(pinned) + "\n", encoding="utf-8")


def link_collection() -> None:
    """Make the working tree importable as a collection."""
    link = COLLECTIONS / "ansible_collections" / "kvmsnap" / "ontap"
    link.parent.mkdir(parents=True, exist_ok=True)
    with locked("link"):
        if not link.is_symlink() or link.resolve() != ROOT:
            link.unlink(missing_ok=True)
            link.symlink_to(ROOT)


def tracked_files() -> list[str]:
    """The files git knows of and that are there, relative to the root."""
    command = ["git", "-c", f"safe.directory={ROOT}", "ls-files", "-z"]
    listed = subprocess.run(command, cwd=ROOT, check=True, capture_output=True, text=True, timeout=60)
    return sorted(name for name in listed.stdout.split("\0") if name and (ROOT / name).exists())


def refresh_copy(name: str, *, leave_out: tuple[str, ...] = ()) -> Path:
    """A copy of the tracked files at ``.../ansible_collections/kvmsnap/ontap``, a git checkout of its own.

    Only what differs is written and what is gone is removed, so that caches inside the copy stay warm. The tools look
    for a checkout at the collection's root, and a symbolic link or an ignored folder would hide the files from them.
    ``leave_out`` names folders (with a slash at the end) that the copy lacks.
    """
    place = BUILD / "copies" / name / "ansible_collections" / "kvmsnap" / "ontap"
    wanted = [file for file in tracked_files() if not file.startswith(leave_out)]
    git = ["git", "-c", f"safe.directory={place}"]
    with locked(f"copy-{name}"):
        place.mkdir(parents=True, exist_ok=True)
        if not (place / ".git").is_dir():
            subprocess.run([*git, "init", "--quiet"], cwd=place, check=True, timeout=60)
        listed = subprocess.run(
            [*git, "ls-files", "-z"], cwd=place, check=True, capture_output=True, text=True, timeout=60
        )
        for gone in set(listed.stdout.split("\0")) - {"", *wanted}:
            (place / gone).unlink(missing_ok=True)
        for file in wanted:
            _copy_file(ROOT / file, place / file)
        subprocess.run([*git, "add", "--all"], cwd=place, check=True, timeout=60)
    return place


def _copy_file(source: Path, target: Path) -> None:
    """Bring one file of a copy up to date."""
    if source.is_symlink():
        if not target.is_symlink() or target.readlink() != source.readlink():
            target.parent.mkdir(parents=True, exist_ok=True)
            target.unlink(missing_ok=True)
            target.symlink_to(source.readlink())
        return
    there = target.stat() if target.is_file() else None
    here = source.stat()
    if there and (there.st_size, there.st_mtime_ns, there.st_mode) == (here.st_size, here.st_mtime_ns, here.st_mode):
        return
    target.parent.mkdir(parents=True, exist_ok=True)
    shutil.copy2(source, target)


def names_a_place(arguments: Iterable[str], root: Path = ROOT) -> bool:
    """Whether one of pytest's arguments names a file or folder that is there, or a test in it."""
    return any((root / word.partition("::")[0]).exists() for word in arguments if word and not word.startswith("-"))


def fingerprint(place: Path, *more: str) -> str:
    """A hash over the tracked files of a copy, the interpreters at hand and what else is given."""
    found = hashlib.sha256("\0".join((clean_path(), *more)).encode())
    for file in tracked_files():
        if (place / file).is_file():
            found.update(f"\0{file}\0".encode() + (place / file).read_bytes())
    return found.hexdigest()


def private_home(name: str) -> Path:
    """A home folder for a tool that would write to the user's, with the user's settings and cache of pip in it."""
    home = BUILD / "homes" / name
    with locked(f"home-{name}"):
        for part in (".pip", ".config/pip", ".cache/pip"):
            theirs, ours = Path.home() / part, home / part
            ours.parent.mkdir(parents=True, exist_ok=True)
            if theirs.exists() and not ours.exists():
                ours.symlink_to(theirs)
    return home


def main(arguments: list[str]) -> None:
    """The command line, see above."""
    link_collection()
    if len(arguments) > 1 and arguments[0] == "exec":
        env = environment(ensure_venv("dev") / "bin", PYTHONPATH=import_path())
        os.execvpe(arguments[1], arguments[1:], env)
    if len(arguments) < 2 or arguments[0] not in ("venv", "lock") or not set(arguments[1:]) <= set(VENVS):
        raise SystemExit(f"usage: ground.py exec COMMAND...|venv NAME...|lock NAME...   (NAME: {', '.join(VENVS)})")
    for name in arguments[1:]:
        if arguments[0] == "lock":
            lock(name)
        else:
            ensure_venv(name)


if __name__ == "__main__":
    main(sys.argv[1:])
