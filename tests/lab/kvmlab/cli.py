# SPDX-FileCopyrightText: 2026 The kvmsnap.ontap authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The command line of the lab."""

from __future__ import annotations

import json
import os
import sys
from typing import Any

import click

from . import packages as machine_packages
from . import topology
from .domain import Disk, DiskSpec, LunSpec
from .exports import exports_of
from .lab import Lab, LabError
from .san import FORMS


class _Commands(click.Group):
    """Shows a LabError as one message and exit code 1."""

    def invoke(self, ctx: click.Context) -> Any:
        try:
            return super().invoke(ctx)
        except LabError as exc:
            raise click.ClickException(str(exc)) from exc


@click.group(cls=_Commands)
@click.pass_context
def main(ctx: click.Context) -> None:
    """Run the lab: a KVM host, its network, an ONTAP array and guests, all on this machine.

    Everything lies in the directory that KVMSNAP_LAB_DIR names (default: /var/lib/kvmsnap-lab).
    """
    ctx.obj = Lab()


@main.command()
def packages() -> None:
    """Install the Debian packages that the lab needs on this machine."""
    machine_packages.install()


@main.command()
@click.pass_obj
def build(lab: Lab) -> None:
    """Build the images that the cache does not hold."""
    lab.build()


@main.command()
@click.pass_obj
def up(lab: Lab) -> None:
    """Bring the lab up; what is up already stays."""
    lab.up()


@main.command()
@click.pass_obj
def down(lab: Lab) -> None:
    """Take the lab down; the cached images stay."""
    lab.down()


@main.command()
@click.pass_obj
def clean(lab: Lab) -> None:
    """Take the lab down and remove its directory, cached images included."""
    lab.clean()


@main.command()
@click.pass_obj
def status(lab: Lab) -> None:
    """Show what is up; exit code 3 when anything is not."""
    rows = lab.status()
    for name, is_up, word in rows:
        click.echo(f"{name:24} {'up' if is_up else 'down':5} {word}")
    sys.exit(0 if all(is_up for _name, is_up, _word in rows) else 3)


@main.command(context_settings={"ignore_unknown_options": True})
@click.argument("command", nargs=-1, type=click.UNPROCESSED)
@click.pass_obj
def ssh(lab: Lab, command: tuple[str, ...]) -> None:
    """Run a command on the KVM host, or open a shell there."""
    words = lab.host.ssh_command(" ".join(command))
    os.execvp(words[0], words)


@main.command()
@click.pass_obj
def inventory(lab: Lab) -> None:
    """Write the Ansible inventory and print its path and the private key's."""
    click.echo(lab.write_inventory())
    click.echo(lab.places.private_key)


@main.command(hidden=True)
@click.pass_obj
def exports(lab: Lab) -> None:
    """Serve the volumes that the simulator lists on standard input; it calls this when they have changed."""
    lab.array.export(exports_of(json.load(sys.stdin)["volumes"]))


@main.group()
def guest() -> None:
    """Add, remove and list guests on the KVM host."""


@guest.command("add")
@click.argument("name")
@click.option("--disk", "disks", multiple=True, required=True,
              metavar="PATH[,format=raw][,cache=none][,size=64][,form=mapper]",
              help="A disk by its path on the KVM host, or a LUN (/vol/VOLUME/NAME; FORM is how the definition names "
                   "its device); made when it is not there. May be given twice.")  # fmt: skip
@click.option("--memory", default=96, show_default=True, help="MiB.")
@click.option("--agent/--no-agent", default=True, show_default=True, help="With or without a guest agent's channel.")
@click.option("--os", type=click.Choice(["linux", "solaris"]), default="linux", show_default=True)
@click.pass_obj
def guest_add(lab: Lab, name: str, disks: tuple[str, ...], memory: int, agent: bool, os: str) -> None:
    """Define and start a guest and wait until it is ready."""
    lab.add_guest(name, [_disk(text) for text in disks], memory_mib=memory, agent=agent, os=os)


@guest.command("start")
@click.argument("names", nargs=-1, required=True)
@click.pass_obj
def guest_start(lab: Lab, names: tuple[str, ...]) -> None:
    """Make and start guests that the lab knows but does not start by itself: mix1, san2."""
    for name in names:
        lab.start_guest(name)


@guest.command("remove")
@click.argument("name")
@click.option("--disks/--keep-disks", default=True, show_default=True, help="Remove its image files and LUNs too.")
@click.pass_obj
def guest_remove(lab: Lab, name: str, disks: bool) -> None:
    """Stop and undefine a guest."""
    lab.remove_guest(name, with_disks=disks)


@guest.command("list")
@click.pass_obj
def guest_list(lab: Lab) -> None:
    """List the guests and their states."""
    for name, state in lab.guests.states().items():
        click.echo(f"{name:20} {state}")


@main.group()
def lun() -> None:
    """Add, remove and list LUNs: on the array, mapped to the KVM host, with their paths there."""


@lun.command("add")
@click.argument("name", metavar="/vol/VOLUME/NAME")
@click.option("--size", default=64, show_default=True, help="MiB.")
@click.pass_obj
def lun_add(lab: Lab, name: str, size: int) -> None:
    """Make an empty LUN, map it to the KVM host and print its device there."""
    click.echo(lab.san.provide(name, size).device)


@lun.command("remove")
@click.argument("name", metavar="/vol/VOLUME/NAME")
@click.pass_obj
def lun_remove(lab: Lab, name: str) -> None:
    """Remove a LUN from the KVM host and from the array."""
    lab.san.discard(lab.luns.get(name))


@lun.command("list")
@click.pass_obj
def lun_list(lab: Lab) -> None:
    """List the LUNs with WWID, igroups and the KVM host's working paths."""
    paths = lab.san.paths()
    for found in lab.luns.all():
        working = [path.disk for path in paths if path.wwid == found.wwid and path.works]
        click.echo(f"{found.path:34} {found.wwid} {','.join(lab.luns.maps(found)) or '-':10} {' '.join(working)}")


@main.group()
def path() -> None:
    """Lose and regain the path to the LUNs over one fabric (a or b)."""


@path.command("down")
@click.argument("fabric", type=click.Choice([portal.fabric for portal in topology.PORTALS]))
@click.pass_obj
def path_down(lab: Lab, fabric: str) -> None:
    """Take the fabric's iSCSI portal away."""
    lab.san.portal_down(fabric)


@path.command("up")
@click.argument("fabric", type=click.Choice([portal.fabric for portal in topology.PORTALS]))
@click.pass_obj
def path_up(lab: Lab, fabric: str) -> None:
    """Give the fabric's iSCSI portal back."""
    lab.san.portal_up(fabric)


def _disk(text: str) -> Disk:
    path, *options = text.split(",")
    given = dict(option.split("=", 1) for option in options)
    is_lun = path.startswith("/vol/")
    unknown = set(given) - {"cache", "size", "form" if is_lun else "format"}
    if unknown:
        raise click.BadParameter(f"unknown disk option: {', '.join(sorted(unknown))}")
    cache, size = given.get("cache", "none"), int(given.get("size", "64"))
    if not is_lun:
        return DiskSpec(path, given.get("format", "raw"), cache, size)
    form = given.get("form", "mapper")
    if form not in FORMS:
        raise click.BadParameter(f"the form of a LUN is one of {', '.join(FORMS)}")
    return LunSpec(path, form, cache, size)
