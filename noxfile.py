# SPDX-FileCopyrightText: 2026 The kvmsnap.ontap authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""One session per check. ``make`` runs them through ``tests/tools/checks.py``.

One alone: ``build/venvs/dev/bin/nox -s mypy-plugins``.

The environments are made by ``tests/tools/ground.py``: shared by several sessions and kept between runs, so nox makes
none. Linters see a copy of the tracked files, tests run in the working tree.
"""

from __future__ import annotations

import os
import shutil
import sys
from pathlib import Path
from xml.etree import ElementTree as ET

import nox
import nox.command

sys.path.insert(0, str(Path(__file__).resolve().parent / "tests" / "tools"))

import ground

nox.needs_version = ">=2024.4"
nox.options.default_venv_backend = "none"
nox.options.sessions = ["ruff", "mypy-plugins", "mypy-tests", "unit-3.11"]

# Stands for the script that ansible-test would fetch to put pip into its environments; the newest pip does it fastest.
PIP_BOOTSTRAP = """\
import subprocess, sys
wanted = [word for word in sys.argv[1:] if word not in ("--no-setuptools", "--no-wheel")]
command = [{pip!r}, "-m", "pip", "--python", sys.executable, "install", *wanted]
sys.exit(subprocess.run(command).returncode)
"""
# ansible-test's own names for the file it would fetch.
PIP_BOOTSTRAP_NAMES = {"2.16": "get_pip_23_1_2.py", "2.19": "get_pip_24_2.py"}


def tool(session: nox.Session, command: str, *arguments: str | Path, venv: str = "dev", **extra: str) -> None:
    """Run a program of a virtual environment."""
    binaries = ground.ensure_venv(venv) / "bin"
    words = [str(word) for word in arguments]
    session.run(str(binaries / command), *words, env=ground.environment(binaries, **extra), include_outer_env=False)


def collection_copy(session: nox.Session, name: str = "lint", *, leave_out: tuple[str, ...] = ()) -> Path:
    """Go to a copy of the tracked files and return its place."""
    place = ground.refresh_copy(name, leave_out=leave_out)
    session.chdir(place)
    return place


def collections_of(place: Path) -> str:
    """The ANSIBLE_COLLECTIONS_PATH that holds this copy."""
    return str(place.parents[2])


@nox.session
def ruff(session: nox.Session) -> None:
    """Style, imports and likely bugs; the format; nothing newer than Python 3.9."""
    collection_copy(session)
    cache = str(ground.BUILD / "ruff")
    tool(session, "ruff", "check", "--output-format=concise", ".", RUFF_CACHE_DIR=cache)
    tool(session, "ruff", "format", "--check", ".", RUFF_CACHE_DIR=cache)


@nox.session(name="format")
def format_(session: nox.Session) -> None:
    """Bring the working tree into form."""
    tool(session, "ruff", "check", "--fix", ".", RUFF_CACHE_DIR=str(ground.BUILD / "ruff"))
    tool(session, "ruff", "format", ".", RUFF_CACHE_DIR=str(ground.BUILD / "ruff"))


def mypy(session: nox.Session, *arguments: str, parts: list[str]) -> None:
    """Check the types of parts of the copy, seen from the folder that holds ``ansible_collections``."""
    place = ground.refresh_copy("lint")
    base = place.parents[2]
    session.chdir(base)
    searched = [base, *(place / "tests" / part for part in ("bench", "faults", "lab", "tools", "unit/support"))]
    found = [str((place / part).relative_to(base)) for part in parts if (place / part).is_dir()]
    tool(
        session,
        "mypy",
        f"--config-file={place / 'pyproject.toml'}",
        f"--cache-dir={ground.BUILD / session.name}",
        f"--python-executable={ground.ensure_venv('dev') / 'bin' / 'python'}",
        *arguments,
        *found,
        MYPYPATH=os.pathsep.join(str(part) for part in searched),
    )


@nox.session(name="mypy-plugins")
def mypy_plugins(session: nox.Session) -> None:
    """Types of the collection, strictly."""
    mypy(session, "--strict", parts=["plugins"])


@nox.session(name="mypy-tests")
def mypy_tests(session: nox.Session) -> None:
    """Types of the lab, the simulator and the tools."""
    mypy(session, parts=["tests/tools", "tests/lab", "tests/faults", "tests/bench"])


@nox.session
def yamllint(session: nox.Session) -> None:
    """YAML."""
    collection_copy(session)
    tool(session, "yamllint", "--strict", ".")


@nox.session(name="ansible-lint")
def ansible_lint(session: nox.Session) -> None:
    """Roles and playbooks, profile production."""
    place = collection_copy(session, "ansible-lint")
    tool(session, "ansible-lint", "--strict", "--offline", ANSIBLE_COLLECTIONS_PATH=collections_of(place))


@nox.session(name="antsibull-docs")
def antsibull_docs(session: nox.Session) -> None:
    """The documentation of plugins and roles, and the guides beside it."""
    place = collection_copy(session)
    options = ["--plugin-docs", "--validate-collection-refs", "self", "--check-extra-docs-refs"]
    tool(
        session, "antsibull-docs", "lint-collection-docs", *options, ".", ANSIBLE_COLLECTIONS_PATH=collections_of(place)
    )


@nox.session(name="antsibull-changelog")
def antsibull_changelog(session: nox.Session) -> None:
    """The changelog's fragments."""
    collection_copy(session)
    tool(session, "antsibull-changelog", "lint")
    tool(session, "antsibull-changelog", "lint-changelog-yaml", "changelogs/changelog.yaml")


@nox.session
def reuse(session: nox.Session) -> None:
    """Every file says who wrote it and under which license."""
    collection_copy(session)
    tool(session, "reuse", "lint")


@nox.session
def structure(session: nox.Session) -> None:
    """The rules of the house that no other tool knows."""
    place = collection_copy(session)
    tool(session, "python", ground.ROOT / "tests" / "tools" / "check_structure.py", place)


def build_artifact(session: nox.Session, target: Path) -> Path:
    """Build the archive that Ansible Galaxy takes, from tracked files only."""
    place = collection_copy(session, "build")
    shutil.rmtree(target, ignore_errors=True)
    tool(session, "ansible-galaxy", "collection", "build", "--output-path", target, place)
    return next(target.glob("kvmsnap-ontap-*.tar.gz"))


@nox.session
def build(session: nox.Session) -> None:
    """The archive for Ansible Galaxy, in build/dist."""
    session.log(f"built {build_artifact(session, ground.BUILD / 'dist')}")


@nox.session(name="galaxy-importer")
def galaxy_importer(session: nox.Session) -> None:
    """What Ansible Galaxy would say of the archive."""
    artifact = build_artifact(session, ground.BUILD / "importer")
    config = ground.BUILD / "importer" / "galaxy-importer.cfg"
    config.write_text("[galaxy-importer]\nrun_ansible_lint = False\nrun_ansible_test = False\n", encoding="utf-8")
    session.chdir(artifact.parent)
    home = str(ground.private_home("importer"))
    tool(
        session,
        "python",
        "-m",
        "galaxy_importer.main",
        artifact,
        venv="importer",
        HOME=home,
        GALAXY_IMPORTER_CONFIG=str(config),
    )


def sanity(session: nox.Session, core: str, *, venv: str, leave_out: tuple[str, ...] = ()) -> None:
    """Everything ``ansible-test sanity`` knows, without containers and without a list of exceptions."""
    home = ground.private_home(f"sanity-{core}")
    cache = home / ".ansible" / "test" / "cache"
    cache.mkdir(parents=True, exist_ok=True)
    bootstrap = PIP_BOOTSTRAP.format(pip=str(ground.ensure_venv("pip") / "bin" / "python"))
    (cache / PIP_BOOTSTRAP_NAMES[core]).write_text(bootstrap, encoding="utf-8")
    place = collection_copy(session, f"sanity-{core}", leave_out=leave_out)
    passed = ground.BUILD / "stamps" / f"sanity-{core}"
    stamp = ground.fingerprint(place, (ground.ensure_venv(venv) / ground.STAMP).read_text(encoding="utf-8"))
    if not session.posargs and passed.is_file() and passed.read_text(encoding="utf-8") == stamp:
        session.log("it passed before, and no file has changed since")
        return
    found, reports = place / "tests" / "output" / "junit", ground.REPORTS / f"sanity-{core}"
    for stale in (found, reports):
        shutil.rmtree(stale, ignore_errors=True)
    options = ["--venv", "--color", "no", "--junit", *session.posargs]
    try:
        tool(session, "ansible-test", "sanity", *options, venv=venv, HOME=str(home))
    finally:
        if found.is_dir():
            shutil.copytree(found, reports)
    if not session.posargs:
        passed.parent.mkdir(exist_ok=True)
        passed.write_text(stamp, encoding="utf-8")


# The tests' own folders, which no user gets.
SANITY_APART = ("believable", "bench", "demo", "faults", "integration", "lab", "tools", "unit")


@nox.session(name="sanity-2.16")
def sanity_216(session: nox.Session) -> None:
    """ansible-test sanity of the oldest ansible-core that the collection runs on, over what users get of it."""
    tests = tuple(f"tests/{part}/" for part in SANITY_APART)
    sanity(session, "2.16", venv="sanity-2.16", leave_out=tests)


@nox.session(name="sanity-2.19")
def sanity_219(session: nox.Session) -> None:
    """ansible-test sanity of the newest ansible-core that this project is tested with, over all files."""
    sanity(session, "2.19", venv="dev")


def pytest(session: nox.Session, *arguments: str | Path, venv: str = "dev", report: str, **extra: str) -> None:
    """Run tests in the working tree; arguments after ``--`` narrow them down."""
    ground.link_collection()
    ground.REPORTS.mkdir(parents=True, exist_ok=True)
    session.chdir(ground.ROOT)
    junit = ground.REPORTS / f"{report}.xml"
    junit.unlink(missing_ok=True)
    words = [*arguments, *session.posargs]
    extra.setdefault("PYTHONPATH", ground.import_path())
    tool(session, "python", "-m", "pytest", f"--junitxml={junit}", *words, venv=venv, **extra)


def folders(session: nox.Session, *names: str) -> list[str]:
    """Those of the files and folders that hold a test; the session is skipped when none does.

    None when an argument after ``--`` names a file or a folder: then that is what is tested.
    """
    if ground.names_a_place(session.posargs):
        return []
    found = [name for name in names if name.endswith(".py") or any((ground.ROOT / name).rglob("test_*.py"))]
    if not found:
        session.skip(f"no test in {', '.join(names)}")
    return found


@nox.session(name="unit-3.11")
def unit(session: nox.Session) -> None:
    """Unit tests of plugins, simulator and lab on the system's Python."""
    pytest(session, *folders(session, "tests/unit"), report="unit-3.11")


@nox.session(name="unit-3.9")
def unit_oldest(session: nox.Session) -> None:
    """Unit tests of what runs on a KVM host, on the oldest Python it may have."""
    if ground.find_python(ground.OLDEST) is None:
        session.skip(f"no Python {ground.OLDEST} here")
    ignored = [f"--ignore=tests/unit/{part}" for part in ("ontapsim", "lab", "tools")]
    pytest(session, *folders(session, "tests/unit"), *ignored, venv="oldest", report="unit-3.9")


@nox.session
def believable(session: nox.Session) -> None:
    """NetApp's own client and collection do ordinary work on the simulator, unmodified."""
    places = folders(session, "tests/believable")
    pytest(
        session,
        *places,
        "--verbose",
        "--timeout=600",
        report="believable",
        KVMSNAP_PY_NETAPP919=str(ground.ensure_venv("dev") / "bin" / "python"),
        KVMSNAP_PY_NETAPP917=str(ground.ensure_venv("oldest") / "bin" / "python"),
        KVMSNAP_ANSIBLE_VENV=str(ground.ensure_venv("netapp-collection")),
    )


@nox.session
def integration(session: nox.Session) -> None:
    """The playbooks on the lab, which is up."""
    pytest(
        session, *folders(session, "tests/integration"), "-v", "-m", "not long", "--timeout=1200", report="integration"
    )


@nox.session(name="integration-long")
def integration_long(session: nox.Session) -> None:
    """The tests on the lab, which is up, that others stand for in the shorter run."""
    pytest(
        session, *folders(session, "tests/integration"), "-v", "-m", "long", "--timeout=1200", report="integration-long"
    )


@nox.session
def molecule(session: nox.Session) -> None:
    """The scenarios of the roles on the lab, which is up."""
    place = collection_copy(session, "molecule")
    scenarios = sorted(file.parent.name for file in (place / "extensions" / "molecule").glob("*/molecule.yml"))
    if not scenarios:
        session.skip("no scenario in extensions/molecule")
    lab = Path(os.environ.get("KVMSNAP_LAB_DIR") or "/var/lib/kvmsnap-lab")
    failed = []
    for scenario in scenarios:
        try:
            tool(
                session,
                "molecule",
                "test",
                "--no-command-borders",
                "--scenario-name",
                scenario,
                *session.posargs,
                ANSIBLE_COLLECTIONS_PATH=collections_of(place),
                KVMSNAP_LAB_INVENTORY=str(lab / "run" / "inventory.yml"),
            )
        except nox.command.CommandFailed:
            failed.append(scenario)
    write_junit("molecule", scenarios, failed)
    if failed:
        session.error(f"failed: {', '.join(failed)}")


@nox.session
def faults(session: nox.Session) -> None:
    """The whole fault matrix, on a private host and on the lab, which is up; build/faults.json has it."""
    pytest(session, *folders(session, "tests/faults"), "-v", "--timeout=600", report="faults")


@nox.session(name="faults-part")
def faults_part(session: nox.Session) -> None:
    """The cells of the fault matrix that stand for the others, on a private host."""
    names = sorted(path.name for path in (ground.ROOT / "tests" / "faults").glob("test_*.py"))
    files = folders(session, *(f"tests/faults/{name}" for name in names if name != "test_kvm_host.py"))
    # The same rounds each time: what is new in a random one is for `make faults` to find.
    rounds = {"KVMSNAP_SEED": os.environ.get("KVMSNAP_SEED", "11"), "KVMSNAP_FROM": os.environ.get("KVMSNAP_FROM", "0")}
    chosen = ("--representative", "-m", "not long")
    pytest(session, *files, *chosen, "-v", "--timeout=300", report="faults-part", **rounds)


def write_junit(name: str, cases: list[str], failed: list[str]) -> None:
    """Report what ran and what of it failed, in the format of the other reports."""
    suite = ET.Element("testsuite", name=name)
    for case in cases:
        entry = ET.SubElement(suite, "testcase", classname=name, name=case)
        if case in failed:
            ET.SubElement(entry, "failure", message="see the log")
    ground.REPORTS.mkdir(parents=True, exist_ok=True)
    ET.ElementTree(suite).write(ground.REPORTS / f"{name}.xml", encoding="utf-8", xml_declaration=True)


@nox.session
def docs(session: nox.Session) -> None:
    """The documentation as HTML, in build/docs/html."""
    place = collection_copy(session, "docs")
    target = ground.BUILD / "docs"
    shutil.rmtree(target, ignore_errors=True)
    target.mkdir(parents=True)
    found = collections_of(place)
    tool(
        session,
        "antsibull-docs",
        "sphinx-init",
        "--use-current",
        "--dest-dir",
        target,
        "--fail-on-error",
        "--squash-hierarchy",
        "--lenient",
        "kvmsnap.ontap",
        ANSIBLE_COLLECTIONS_PATH=found,
    )
    session.chdir(target)
    tool(
        session,
        "antsibull-docs",
        "--config-file",
        "antsibull-docs.cfg",
        "collection",
        "--use-current",
        "--squash-hierarchy",
        "--fail-on-error",
        "--dest-dir",
        "rst",
        "kvmsnap.ontap",
        ANSIBLE_COLLECTIONS_PATH=found,
    )
    tool(session, "sphinx-build", "-M", "html", "rst", ".", "-c", ".", "-q", ANSIBLE_COLLECTIONS_PATH=found)
    session.log(f"open {target / 'html' / 'index.html'}")
