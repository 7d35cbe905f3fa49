# SPDX-FileCopyrightText: 2026 The kvmsnap.ontap authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Debian packages for the images, fetched by the machine's apt from its own sources without touching its state.

Only the release's own entries of the machine's sources are used; lists, downloads and the (empty) set of installed
packages live in a directory of the lab. What is unpacked here is never installed on the machine.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from ..errors import LabError
from ..process import run

RELEASE = "bookworm"
SOURCES = Path("/etc/apt")
ONE_LINE = re.compile(r"^deb\s+(?:\[[^]]*\]\s+)?(?P<uri>\S+)\s+(?P<suite>\S+)\s")


def contained(argv: Sequence[object]) -> list[str]:
    """Wrap a command so that it, its children and its mounts end with the process that started it."""
    prefix = ["setpriv", "--pdeathsig", "KILL", "unshare", "--mount", "--pid", "--fork", "--kill-child", "--mount-proc"]
    return [*prefix, *(str(word) for word in argv)]


def release_entries(one_line: str, deb822: str) -> tuple[str, str]:
    """Cut both kinds of apt sources down to the entries of the release; pure, text in and text out."""
    lines = []
    for line in one_line.splitlines():
        found = ONE_LINE.match(line.strip() + " ")
        if found and _of_release([found["suite"]]) and not found["uri"].startswith("cdrom:"):
            lines.append(line.strip())
    stanzas = []
    for stanza in re.split(r"\n\s*\n", deb822):
        fields = _fields(stanza)
        enabled = fields.get("enabled", "yes").lower() in ("yes", "true", "1")
        if enabled and "deb" in fields.get("types", "").split() and _of_release(fields.get("suites", "").split()):
            stanzas.append(stanza.strip())
    return "".join(f"{line}\n" for line in lines), "\n\n".join(stanzas) + ("\n" if stanzas else "")


def _of_release(suites: Iterable[str]) -> bool:
    plain = [suite.split("/")[0] for suite in suites]
    return bool(plain) and all(re.fullmatch(rf"{RELEASE}(-updates|-security)?", suite) for suite in plain)


def _fields(stanza: str) -> dict[str, str]:
    fields: dict[str, str] = {}
    name = ""
    for line in stanza.splitlines():
        if line.startswith("#"):
            continue
        if line[:1] in (" ", "\t"):
            fields[name] = f"{fields.get(name, '')} {line.strip()}"
        elif ":" in line:
            name, _colon, value = line.partition(":")
            name = name.strip().lower()
            fields[name] = value.strip()
    return fields


@dataclass(frozen=True)
class Apt:
    """The machine's apt, looking at lists of its own in ``directory``."""

    directory: Path

    @property
    def lists(self) -> Path:
        return self.directory / "lists"

    @property
    def sources(self) -> list[Path]:
        """Return the source files that were written, for mmdebstrap."""
        return sorted((self.directory / "sources").iterdir())

    def refresh(self) -> None:
        """Take over the machine's sources and fetch their lists."""
        for name in ("lists/partial", "archives/partial", "sources"):
            (self.directory / name).mkdir(parents=True, exist_ok=True)
        (self.directory / "status").touch()
        one_line, deb822 = release_entries(
            _joined([SOURCES / "sources.list", *sorted((SOURCES / "sources.list.d").glob("*.list"))], "\n"),
            _joined(sorted((SOURCES / "sources.list.d").glob("*.sources")), "\n\n"),
        )
        if not one_line and not deb822:
            raise LabError(f"Failed to find the package sources of Debian {RELEASE} in {SOURCES}")
        for name, text in (("lab.list", one_line), ("lab.sources", deb822)):
            (self.directory / "sources" / name).unlink(missing_ok=True)
            if text:
                (self.directory / "sources" / name).write_text(text)
        self._apt("update", timeout=180)

    def newest_kernel(self, meta: str) -> str:
        """Return the package that a kernel's meta package stands for."""
        said = self._run("apt-cache", "depends", "--important", meta)
        found = re.search(r"Depends: (linux-image-\d\S+)", said)
        if found is None:
            raise LabError(f"Failed to find the kernel behind {meta}: {said[:200]}")
        return found[1]

    def unpack(self, packages: Sequence[str], target: Path) -> None:
        """Unpack just these packages into ``target``; no maintainer script runs."""
        download = target.with_name(f"{target.name}.debs")
        download.mkdir()
        self._apt("download", *packages, timeout=300, cwd=download)
        target.mkdir(exist_ok=True)
        for archive in sorted(download.iterdir()):
            run(contained(["dpkg-deb", "--extract", archive, target]), timeout=120)
            archive.unlink()
        download.rmdir()

    def closure(self, packages: Sequence[str], *, without: str = "$^") -> list[str]:
        """Return the packages with everything they depend on, but for names that match ``without`` (a pattern)."""
        said = self._apt("--print-uris", "install", *packages, timeout=60)
        names = [line.split()[1].split("_")[0] for line in said.splitlines() if line.startswith("'")]
        return [name for name in names if not re.fullmatch(without, name)]

    def _apt(self, *words: str, timeout: float, cwd: Path | None = None) -> str:
        return self._run("apt-get", "-qq", *words, timeout=timeout, cwd=cwd)

    def _run(self, program: str, *words: str, timeout: float = 60, cwd: Path | None = None) -> str:
        options = [part for name, value in self._options.items() for part in ("-o", f"{name}={value}")]
        return run(contained([program, *options, *words]), timeout=timeout, env={"LC_ALL": "C.UTF-8"}, cwd=cwd).stdout

    @property
    def _options(self) -> dict[str, object]:
        return {
            "APT::Install-Recommends": "false",
            "APT::Sandbox::User": "root",
            "Acquire::Languages": "none",
            "Dir::Cache": self.directory,
            "Dir::Cache::archives": self.directory / "archives",
            "Dir::Cache::pkgcache": "pkgcache.bin",
            "Dir::Cache::srcpkgcache": "srcpkgcache.bin",
            "Dir::Etc::preferences": "/dev/null",
            "Dir::Etc::preferencesparts": "/dev/null",
            "Dir::Etc::sourcelist": "/dev/null",
            "Dir::Etc::sourceparts": self.directory / "sources",
            "Dir::State": self.directory,
            "Dir::State::lists": self.lists,
            "Dir::State::status": self.directory / "status",
        }


def _joined(files: Iterable[Path], separator: str) -> str:
    return separator.join(file.read_text() for file in files if file.is_file())
