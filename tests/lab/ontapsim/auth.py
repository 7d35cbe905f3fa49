# SPDX-FileCopyrightText: 2026 The kvmsnap.ontap authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Who asks: accounts with a password, and the SVM a request is bound to."""

from __future__ import annotations

import base64
import binascii
import hmac
from collections.abc import Mapping
from dataclasses import dataclass

from . import errors
from .errors import ApiError
from .model import Array


@dataclass(frozen=True)
class Account:
    """A user; ``svm`` is None for one of the cluster's."""

    name: str
    password: str
    role: str
    svm: str | None = None
    locked: bool = False


class UnauthenticatedError(Exception):
    """Wrong or missing credentials: answered with 401."""


def authenticate(accounts: list[Account], header: str | None, *, listener: str | None) -> Account:
    """Return the account of a Basic ``Authorization`` header.

    ``listener`` is the SVM whose LIF was spoken to, ``"*"`` for the cluster's, None where any account may come in.
    """
    name, password = _credentials(header)
    for account in accounts:
        if listener == "*" and account.svm is not None:
            continue
        if listener not in (None, "*") and account.svm != listener:
            continue
        same = account.name == name and hmac.compare_digest(account.password.encode(), password.encode())
        if same and not account.locked:
            return account
    raise UnauthenticatedError(name)


def _credentials(header: str | None) -> tuple[str, str]:
    scheme, _space, token = (header or "").partition(" ")
    if scheme.lower() != "basic":
        raise UnauthenticatedError("")
    try:
        name, sign, password = base64.b64decode(token, validate=True).decode().partition(":")
    except (binascii.Error, UnicodeDecodeError) as exc:
        raise UnauthenticatedError("") from exc
    if not sign:
        raise UnauthenticatedError(name)
    return name, password


def scope_of(account: Account, headers: Mapping[str, str], array: Array) -> str | None:
    """Return the SVM a request is bound to: the account's own, or the one that a tunnel header names."""
    name, uuid = headers.get("X-Dot-SVM-Name"), headers.get("X-Dot-SVM-UUID")
    if account.svm is not None:
        own = array.svms[account.svm]
        if name not in (None, own.name) or uuid not in (None, own.uuid):
            raise errors.forbidden()
        return account.svm
    if name is None and uuid is None:
        return None
    for svm in array.svms.values():
        if name in (None, svm.name) and uuid in (None, svm.uuid):
            return svm.name
    raise ApiError(errors.SVM_NOT_FOUND, f'SVM "{name or uuid}" does not exist.', target="svm.name")
