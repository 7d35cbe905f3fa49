# SPDX-FileCopyrightText: 2026 The kvmsnap.ontap authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Findings about guests, disks and the environment, each with a stable code and what to do about it."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import asdict, dataclass, replace
from typing import Any, Literal, Optional

from ansible_collections.kvmsnap.ontap.plugins.module_utils._text import visible

Severity = Literal["error", "warning", "info"]


Code = Literal[
    "agent-disconnected",
    "ambiguous-address",
    "ambiguous-lun",
    "architecture-missing",
    "autostart",
    "backing-chain",
    "backing-chain-mismatch",
    "backing-file-changed",
    "backing-file-outside",
    "backing-file-shared",
    "block-job-active",
    "cluster-managed",
    "cluster-unknown",
    "cpu-mode-missing",
    "cpu-model-missing",
    "definition-not-allowed",
    "definition-unreadable",
    "directory-disk",
    "disk-in-use",
    "disk-moved",
    "disk-swapped",
    "disk-used-by-several-guests",
    "disk-used-elsewhere",
    "domain-type-missing",
    "e-series-device",
    "emulator-missing",
    "exclusion-matches-nothing",
    "external-data-file",
    "file-not-in-snapshot",
    "firmware-missing",
    "firmware-state",
    "flexcache",
    "flexgroup",
    "format-mismatch",
    "full-verify-impossible",
    "guest-active-elsewhere",
    "guest-busy",
    "guest-half-restored",
    "guest-identity",
    "guest-locked",
    "guest-not-defined",
    "guest-not-found",
    "guest-not-in-backup",
    "guest-unreadable",
    "health-impossible",
    "host-file-missing",
    "host-unreachable",
    "image-locked",
    "image-missing",
    "image-on-san-file-system",
    "image-unreadable",
    "inside-snapshot",
    "internal-snapshots",
    "libvirt-unavailable",
    "local-file",
    "logical-volume",
    "lun-activated-on-host",
    "lun-device-missing",
    "lun-identity",
    "lun-in-use",
    "lun-mapped-elsewhere",
    "lun-maps-unknown",
    "lun-not-found",
    "lun-offline",
    "lun-outside-volume",
    "lun-partition",
    "lun-read-only",
    "lun-reserved",
    "lun-size-differs",
    "lun-used-by-several-guests",
    "luns-unreadable",
    "machine-type-missing",
    "managed-save",
    "manifest-incomplete",
    "mapping-drift",
    "mapping-format-unknown",
    "mapping-not-a-file",
    "mapping-unknown-controller",
    "mapping-unknown-guest",
    "mapping-unknown-path",
    "mapping-unknown-volume",
    "mapping-unwritable",
    "media-attached",
    "method-not-for-luns",
    "mount-not-responding",
    "multipathd-not-running",
    "network-disk",
    "network-missing",
    "network-not-isolated",
    "no-agent",
    "no-disk-saved",
    "no-guest-matches",
    "no-igroup-of-this-host",
    "no-volume-at-path",
    "no-working-path",
    "not-a-file",
    "not-a-netapp-device",
    "not-an-ontap-address",
    "nothing-to-protect",
    "nvme-disk",
    "passed-through-controller",
    "passed-through-disk",
    "path-failed",
    "paths-disagree",
    "pool-volume-unresolved",
    "restore-unfinished",
    "sanlun-device-unknown",
    "sanlun-disagrees",
    "sanlun-failed",
    "sanlun-unconfirmed",
    "secret-missing",
    "seven-mode-lun",
    "shareable-disk",
    "shared-directory",
    "single-path-device",
    "size-mismatch",
    "snapshot-missing",
    "snapshot-replaced",
    "storage-pool-missing",
    "transient-disk",
    "transient-guest",
    "unknown-passed-through-device",
    "unresolvable-server",
    "unresolvable-wwid",
    "unsafe-cache",
    "unsupported-block-device",
    "unsupported-disk-type",
    "unsupported-file-system",
    "unsupported-image-format",
    "unsupported-lun-class",
    "vhost-disk",
    "volume-is-svm-root",
    "volume-not-mounted",
    "volume-offline",
    "volume-read-only",
]
"""What a finding is called: stable, in kebab-case. :mod:`_problem_codes` says what each means."""


@dataclass(frozen=True)
class Problem:
    """One finding.

    ``code`` is stable and in kebab-case. ``error`` means that the guest (or the whole run, when ``guest`` is None) is
    not protected; ``warning`` that it is, with a remark; ``info`` is worth knowing. ``remedy`` says what to do.
    Control characters in the two sentences are made visible; ``guest`` and ``disk`` are names, and stay as they are.
    """

    code: Code
    severity: Severity
    message: str
    remedy: str
    guest: Optional[str] = None
    disk: Optional[str] = None

    def __post_init__(self) -> None:
        for sentence in ("message", "remedy"):
            object.__setattr__(self, sentence, visible(getattr(self, sentence)))

    def on(self, subject: str, *, guest: str, disk: Optional[str] = None) -> Problem:
        """Return the finding as one of a guest or disk, whose message began with what is found of it."""
        return replace(self, message=f"{subject}: {self.message}", guest=guest, disk=disk)

    def as_dict(self) -> dict[str, Any]:
        """Return the finding as plain data for a module's result."""
        return asdict(self)


def errors_of(problems: Iterable[Problem]) -> list[Problem]:
    """Return those that leave something unprotected, in their order."""
    return [problem for problem in problems if problem.severity == "error"]
