# SPDX-FileCopyrightText: 2026 The kvmsnap.ontap authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The control port: the laboratory's own HTTP over a UNIX socket, JSON both ways. Nothing of it is ONTAP."""

from __future__ import annotations

import json
import os
from collections.abc import Awaitable
from dataclasses import replace
from typing import Any, Callable

from aiohttp import web

from .areas.snapshots import LIMIT
from .config import LUN_KEYS, VOLUME_KEYS
from .model import ConsistencyGroup, Snapshot, Volume, new_uuid, serial_of
from .seed import add_lun, add_volume, map_lun
from .simulator import Simulator
from .storage import StorageError, VolumeRef

_CAUSE: dict[str, str] = {"user": "control"}
_SNAPSHOT_KEYS = {
    "svm",
    "volume",
    "name",
    "comment",
    "owners",
    "expiry_time",
    "snaplock_expiry_time",
    "snapmirror_label",
    "count",
}


class Control:
    """Serves one simulator's control socket."""

    def __init__(self, simulator: Simulator) -> None:
        self.simulator = simulator
        self._runner: web.AppRunner | None = None

    async def start(self, path: str) -> None:
        """Open the socket at ``path`` for its owner only."""
        app = web.Application(middlewares=[_as_json])
        app.add_routes(
            [
                web.get("/health", self._health),
                web.post("/settle", self._settle),
                web.get("/journal", self._journal),
                web.get("/requests", self._requests),
                web.delete("/requests", self._clear_requests),
                web.get("/faults", self._faults),
                web.post("/faults", self._add_fault),
                web.delete("/faults", self._clear_faults),
                web.get("/late", self._late),
                web.post("/late", self._hasten),
                web.get("/sha256", self._sha256),
                web.get("/switches", self._switches),
                web.post("/switches", self._set_switches),
                web.delete("/switches", self._reset_switches),
                web.post("/version", self._set_version),
                web.get("/volumes", self._volumes),
                web.post("/volumes", self._add_volume),
                web.patch("/volumes", self._change_volume),
                web.post("/snapshots", self._add_snapshots),
                web.patch("/snapshots", self._change_snapshot),
                web.post("/groups", self._add_group),
                web.delete("/groups", self._remove_groups),
                web.patch("/lifs", self._change_lif),
                web.get("/luns", self._luns),
                web.post("/luns", self._add_lun),
                web.patch("/luns", self._change_lun),
                web.post("/san", self._serve_luns),
            ]
        )
        if os.path.exists(path):
            os.unlink(path)
        self._runner = web.AppRunner(app, access_log=None)
        await self._runner.setup()
        mask = os.umask(0o177)
        try:
            await web.UnixSite(self._runner, path).start()
        finally:
            os.umask(mask)

    async def stop(self) -> None:
        """Close the socket."""
        if self._runner is not None:
            await self._runner.cleanup()

    async def _health(self, _request: web.Request) -> Any:
        simulator = self.simulator
        return {
            "ok": True,
            "version": simulator.array.version,
            "reflink": simulator.engine.reflink,
            "seals": simulator.engine.seals,
            "running_jobs": len(simulator.running_jobs()),
            "pid": os.getpid(),
            "ports": simulator.ports,
            "san": simulator.san_trouble,
        }

    async def _settle(self, request: web.Request) -> Any:
        return {"going": await self.simulator.jobs.settle((await _json(request))["seconds"])}

    async def _journal(self, request: web.Request) -> Any:
        after = int(request.query.get("after", "0"))
        return {"entries": [item for item in self.simulator.journal.entries if item["seq"] > after]}

    async def _requests(self, _request: web.Request) -> Any:
        return {"entries": list(self.simulator.requests)}

    async def _clear_requests(self, _request: web.Request) -> Any:
        self.simulator.requests.clear()
        return {}

    async def _faults(self, _request: web.Request) -> Any:
        return {"faults": [item.as_dict() for item in self.simulator.faults.active]}

    async def _add_fault(self, request: web.Request) -> Any:
        return self.simulator.faults.add(await _json(request)).as_dict()

    async def _clear_faults(self, _request: web.Request) -> Any:
        self.simulator.faults.clear()
        return {}

    async def _late(self, _request: web.Request) -> Any:
        return {"effects": [item.as_dict() for item in self.simulator.late]}

    async def _hasten(self, _request: web.Request) -> Any:
        self.simulator.hasten()
        return {}

    async def _sha256(self, request: web.Request) -> Any:
        query = request.query
        digest = await self.simulator.work(
            self.simulator.engine.sha256, VolumeRef(query["svm"], query["volume"]), query["path"], query.get("snapshot")
        )
        return {"sha256": digest}

    async def _switches(self, _request: web.Request) -> Any:
        return self.simulator.switches.as_dict()

    async def _set_switches(self, request: web.Request) -> Any:
        self.simulator.set_switches(await _json(request))
        return self.simulator.switches.as_dict()

    async def _reset_switches(self, _request: web.Request) -> Any:
        self.simulator.reset_switches()
        return self.simulator.switches.as_dict()

    async def _set_version(self, request: web.Request) -> Any:
        self.simulator.set_version((await _json(request))["version"])
        return {"version": self.simulator.array.version}

    async def _volumes(self, _request: web.Request) -> Any:
        return {
            "volumes": [
                {
                    "svm": item.svm,
                    "name": item.name,
                    "uuid": item.uuid,
                    "junction": item.junction,
                    "state": item.state,
                    "type": item.type,
                    "snapshots": [snap.name for snap in item.snapshots],
                    "root": self.simulator.engine.volume_root(item.ref),
                }
                for item in self.simulator.array.volumes.values()
            ]
        }

    async def _add_volume(self, request: web.Request) -> Any:
        body = await _json(request)
        svm = body.pop("svm")
        _known(body, VOLUME_KEYS - {"luns"})
        if svm not in self.simulator.array.svms or self.simulator.array.volume_named(svm, body["name"]):
            raise ValueError(f"cannot add volume {body['name']} to {svm}")
        volume = add_volume(self.simulator.array, self.simulator.engine, self.simulator.clock, svm, body, cause=_CAUSE)
        self.simulator.save()
        await self.simulator.exports_changed()
        return {"uuid": volume.uuid}

    async def _change_volume(self, request: web.Request) -> Any:
        body = await _json(request)
        volume = self._volume(body.pop("svm"), body.pop("volume"))
        _known(body, VOLUME_KEYS - {"name", "unix_permissions", "luns"})
        for name, value in body.items():
            setattr(volume, name, value)
        self.simulator.save()
        await self.simulator.exports_changed()
        await self.simulator.san_changed()
        return {"uuid": volume.uuid}

    async def _add_snapshots(self, request: web.Request) -> Any:
        body = await _json(request)
        _known(body, _SNAPSHOT_KEYS)
        volume = self._volume(body["svm"], body["volume"])
        count = int(body.get("count", 1))
        names = [body["name"]] if count == 1 else [f"{body['name']}{number}" for number in range(count)]
        if len(volume.snapshots) + count > LIMIT or any(volume.snapshot(name) for name in names):
            raise ValueError("too many snapshots, or one of that name is there")
        made = []
        for name in names:
            await self.simulator.work(self.simulator.engine.create_snapshots, [volume.ref], name, cause=_CAUSE)
            snapshot = Snapshot(
                name=name,
                uuid=new_uuid(),
                version_uuid=new_uuid(),
                create_time=self.simulator.clock.iso(),
                number=self.simulator.array.next_number(),
                comment=body.get("comment", ""),
                owners=list(body.get("owners", [])),
                expiry_time=body.get("expiry_time"),
                snaplock_expiry_time=body.get("snaplock_expiry_time"),
                snapmirror_label=body.get("snapmirror_label"),
                luns=[lun.copy() for lun in volume.luns],
            )
            volume.snapshots.append(snapshot)
            made.append(snapshot.uuid)
        self.simulator.save()
        return {"uuids": made}

    async def _change_snapshot(self, request: web.Request) -> Any:
        body = await _json(request)
        volume, name = self._volume(body.pop("svm"), body.pop("volume")), body.pop("name")
        snapshot = volume.snapshot(name)
        if snapshot is None:
            raise KeyError(name)
        _known(body, _SNAPSHOT_KEYS - {"count"})
        for key, value in body.items():
            setattr(snapshot, key, value)
        self.simulator.save()
        return {"uuid": snapshot.uuid}

    async def _add_group(self, request: web.Request) -> Any:
        body = await _json(request)
        _known(body, {"svm", "name", "volumes"})
        uuids = [self._volume(body["svm"], name).uuid for name in body["volumes"]]
        group = ConsistencyGroup(body["name"], body["svm"], new_uuid(), uuids)
        self.simulator.array.groups[group.uuid] = group
        self.simulator.save()
        return {"uuid": group.uuid}

    async def _remove_groups(self, _request: web.Request) -> Any:
        self.simulator.array.groups.clear()
        self.simulator.save()
        return {}

    async def _change_lif(self, request: web.Request) -> Any:
        body = await _json(request)
        name = body.pop("name")
        _known(body, {"enabled", "state", "services", "ipspace", "address", "svm"})
        lif = next(item for item in self.simulator.array.lifs if item.name == name)
        for key, value in body.items():
            setattr(lif, key, value)
        self.simulator.save()
        return {"uuid": lif.uuid}

    async def _serve_luns(self, _request: web.Request) -> Any:
        await self.simulator.san_changed()
        if self.simulator.san_trouble is not None:
            raise ValueError(self.simulator.san_trouble)
        return {}

    async def _luns(self, _request: web.Request) -> Any:
        array = self.simulator.array
        return {
            "luns": [
                {
                    "svm": volume.svm,
                    "volume": volume.name,
                    "name": volume.lun_name(lun),
                    **vars(lun),
                    "maps": {
                        array.igroups[item.igroup].name: item.number for item in array.lun_maps if item.lun == lun.uuid
                    },
                }
                for volume, lun in array.luns()
            ]
        }

    async def _add_lun(self, request: web.Request) -> Any:
        body = await _json(request)
        volume = self._volume(body.pop("svm"), body.pop("volume"))
        _known(body, LUN_KEYS)
        simulator = self.simulator
        lun = add_lun(
            simulator.array, simulator.engine, simulator.clock, volume, body, identity=new_uuid(), cause=_CAUSE
        )
        map_lun(simulator.array, volume, lun, body, first=simulator.config.san.first_number)
        simulator.save()
        await simulator.san_changed()
        return {"uuid": lun.uuid, "serial": lun.serial}

    async def _change_lun(self, request: web.Request) -> Any:
        """Set attributes of a LUN; ``replace`` lets another LUN be at its path, under new uuid and serial."""
        body = await _json(request)
        volume, path = self._volume(body.pop("svm"), body.pop("volume")), body.pop("path")
        lun, array = volume.lun(path), self.simulator.array
        if lun is None:
            raise KeyError(path)
        replaced = body.pop("replace", False)
        _known(body, {"serial", "os_type", "enabled", "comment"})
        if replaced:
            old, lun.uuid = lun.uuid, new_uuid()
            lun.serial = serial_of(lun.uuid)
            array.lun_maps = [replace(item, lun=lun.uuid) if item.lun == old else item for item in array.lun_maps]
        for name, value in body.items():
            setattr(lun, name, value)
        self.simulator.save()
        await self.simulator.san_changed()
        return {"uuid": lun.uuid, "serial": lun.serial}

    def _volume(self, svm: str, name: str) -> Volume:
        volume = self.simulator.array.volume_named(svm, name)
        if volume is None:
            raise KeyError(f"{svm}:{name}")
        return volume


def _known(body: dict[str, Any], keys: set[str]) -> None:
    surplus = set(body) - keys
    if surplus:
        raise ValueError(f"unknown: {', '.join(sorted(surplus))}")


async def _json(request: web.Request) -> dict[str, Any]:
    body: dict[str, Any] = await request.json()
    return body


@web.middleware
async def _as_json(request: web.Request, handler: Callable[[web.Request], Awaitable[Any]]) -> web.StreamResponse:
    try:
        result = await handler(request)
    except (ValueError, KeyError, TypeError, StopIteration) as exc:
        return web.json_response({"error": f"{type(exc).__name__}: {exc}"}, status=400)
    except StorageError as exc:
        return web.json_response({"error": str(exc)}, status=404)
    if isinstance(result, web.StreamResponse):
        return result
    return web.json_response(result, dumps=json.dumps)
