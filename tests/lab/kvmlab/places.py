# SPDX-FileCopyrightText: 2026 The kvmsnap.ontap authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Where the lab keeps its things: one directory outside the repository, and two network namespaces."""

from __future__ import annotations

import hashlib
import os
from dataclasses import dataclass
from pathlib import Path

from .errors import LabError

DEFAULT_ROOT = "/var/lib/kvmsnap-lab"
LONGEST_ROOT = 60


@dataclass(frozen=True)
class Places:
    """Paths and names of one lab; every lab directory has its own, so that two of them never meet."""

    root: Path

    @classmethod
    def from_environment(cls) -> Places:
        """Take the lab directory from ``KVMSNAP_LAB_DIR``; too long a one cannot hold UNIX sockets."""
        root = Path(os.environ.get("KVMSNAP_LAB_DIR") or DEFAULT_ROOT).absolute()
        if len(str(root)) > LONGEST_ROOT:
            raise LabError(f"KVMSNAP_LAB_DIR is longer than {LONGEST_ROOT} characters, too long for sockets: {root}")
        return cls(root)

    @property
    def cache(self) -> Path:
        return self.root / "cache"

    @property
    def run(self) -> Path:
        return self.root / "run"

    @property
    def sessions(self) -> Path:
        return self.run / "sessions"

    @property
    def logs(self) -> Path:
        return self.run / "logs"

    @property
    def array(self) -> Path:
        return self.run / "array"

    @property
    def array_disk(self) -> Path:
        return self.array / "disk.xfs"

    @property
    def array_data(self) -> Path:
        return self.array / "data"

    @property
    def volumes(self) -> Path:
        return self.array_data / "vols"

    @property
    def control_socket(self) -> Path:
        return self.array / "control.sock"

    @property
    def tls(self) -> Path:
        return self.array / "tls"

    @property
    def nfs(self) -> Path:
        return self.array / "nfs"

    @property
    def ganesha_pidfile(self) -> Path:
        return self.nfs / "ganesha.pid"

    @property
    def target_pidfile(self) -> Path:
        return self.array / "tgtd.pid"

    @property
    def target_socket(self) -> Path:
        return self.array / "tgtd.sock"

    @property
    def host(self) -> Path:
        return self.run / "host"

    @property
    def ssh_master(self) -> Path:
        return self.run / "ssh-master"

    @property
    def known_hosts(self) -> Path:
        return self.run / "known_hosts"

    @property
    def private_key(self) -> Path:
        return self.run / "id_ed25519"

    @property
    def inventory(self) -> Path:
        return self.run / "inventory.yml"

    @property
    def net_namespace(self) -> str:
        return f"kvmsnap-net{self._suffix}"

    @property
    def nas_namespace(self) -> str:
        return f"kvmsnap-nas{self._suffix}"

    @property
    def _suffix(self) -> str:
        if str(self.root) == DEFAULT_ROOT:
            return ""
        return "-" + hashlib.sha256(str(self.root).encode()).hexdigest()[:6]
