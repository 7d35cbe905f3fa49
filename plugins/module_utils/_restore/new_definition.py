# SPDX-FileCopyrightText: 2026 The kvmsnap.ontap authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The definition that a restore gives to a guest. Pure.

It is put together twice: out of what libvirt shows, for the plan, and just before it is defined out of what libvirt
keeps, with the passwords that no plan and no backup holds.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, Optional

from ansible_collections.kvmsnap.ontap.plugins.module_utils._kvm.definition import Edited, Policy, merged

AsIs = Literal["as_is"]
AS_IS: AsIs = "as_is"


@dataclass(frozen=True)
class NewDefinition:
    """What a guest's definition is made of: the one that exists and ``saved``, put together as ``policy`` says.

    ``targets`` are the disks that are to lie where ``saved`` has them, for the policy ``keep``. ``as_is``: it is
    ``saved`` to the letter, which may hold passwords. ``notes`` say what ``saved`` lacks of the backup's.
    """

    saved: str
    policy: Literal[Policy, AsIs]
    targets: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()

    def out_of(self, existing: Optional[str]) -> Edited:
        """Return the definition; ``existing`` is None for a guest that is not defined. Raises ``DefinitionError``."""
        if self.policy == AS_IS:
            return Edited(self.saved, self.notes)
        made = merged(existing=existing, saved=self.saved, policy=self.policy, targets=self.targets)
        return Edited(made.xml, (*self.notes, *made.notes))
