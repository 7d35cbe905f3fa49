# SPDX-FileCopyrightText: 2026 The kvmsnap.ontap authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Edit one top-level key of a YAML file's text and leave every other character as it is.

Ansible reads each plain string of such a file as a template. What is written here was found on hosts and arrays, where
anybody names files and guests, so a string that could be a template is written with the tag ``!unsafe``, which Ansible
never renders.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Optional

import yaml

from ansible_collections.kvmsnap.ontap.plugins.module_utils._errors import KvmsnapError
from ansible_collections.kvmsnap.ontap.plugins.module_utils._text import hides, visible

ABSENT = object()
VAULT_HEADER = "$ANSIBLE_VAULT;"

_INDENT = "  "
_MERGE_TAG = "tag:yaml.org,2002:merge"
_UNSAFE_TAG = "!unsafe"
_TEMPLATE = re.compile(r"\{[{%#]")


class _Unsafe(str):
    """A string that is written with the tag ``!unsafe``."""

    __slots__ = ()


class _Dumper(yaml.SafeDumper):
    """Writes :class:`_Unsafe`."""


class _Loader(yaml.SafeLoader):
    """Reads ``!unsafe``; Ansible takes the tag before a list or dictionary too."""


_Dumper.add_representer(_Unsafe, lambda dumper, text: dumper.represent_scalar(_UNSAFE_TAG, str(text), style="'"))


def _construct_unsafe(loader: yaml.SafeLoader, node: yaml.Node) -> Any:
    plain = {yaml.MappingNode: "map", yaml.SequenceNode: "seq", yaml.ScalarNode: "str"}[type(node)]
    copy = type(node)(f"tag:yaml.org,2002:{plain}", node.value, node.start_mark, node.end_mark)
    return loader.construct_object(copy, deep=True)


_Loader.add_constructor(_UNSAFE_TAG, _construct_unsafe)


class YamlTextError(KvmsnapError):
    """The text cannot be edited without a risk for what else it holds."""


@dataclass(frozen=True)
class _Entry:
    """A top-level key. Positions count characters: ``colon`` is the one behind the key, ``limit`` the next key's."""

    value: yaml.Node
    colon: int
    limit: int


def get_key(text: str, key: str) -> Any:
    """Return the plain value of a top-level key, :data:`ABSENT` when there is none.

    Raises :class:`YamlTextError`. A string with the tag ``!unsafe`` is what it says.
    """
    found = [node for name, node in _pairs(_root(text)) if _is(name, key)]
    return _plain(found[0]) if found else ABSENT


def templates_in(text: str, key: str) -> list[str]:
    """Return the strings in the value of a top-level key that Ansible would read as templates; raises YamlTextError."""
    return [each for name, node in _pairs(_root(text)) if _is(name, key) for each in _templates(node, ())]


def set_key(text: str, key: str, value: Any) -> str:
    """Return the text with the top-level ``key`` set to ``value`` (a string, number, list or dictionary).

    A key that exists keeps its place and the remark behind it; a new one goes to the end. Text whose value is right
    already comes back unchanged. A string in the value that Ansible would take for a template gets the tag ``!unsafe``.
    Raises :class:`YamlTextError` for a text that is encrypted, is no block mapping, has a key twice, or where the key's
    value is encrypted, has a template in it, or has anchors, aliases or merges in it.
    """
    if not re.fullmatch(r"[A-Za-z_][A-Za-z0-9_]*", key):
        raise YamlTextError(f"Failed to set key {key!r}: it is no name of a variable")
    wanted = plain_copy(value)
    root = _root(text)
    entry = _entry(text, root, key)
    if entry is not None and not any(_templates(entry.value, ())) and _same(entry.value, wanted):
        return text
    if root is not None and root.flow_style:
        raise YamlTextError(f"Failed to set {key}: the variables are written in braces; write them one per line")
    edited = _appended(text, root, key, wanted) if entry is None else _replaced(text, entry, key, wanted)
    _verify(text, edited, key, wanted)
    return edited


def plain_copy(value: Any) -> Any:
    """Return the value built from plain types alone; Ansible's own are subclasses of them that YAML cannot write."""
    if value is None or isinstance(value, bool):
        return value
    if isinstance(value, str):
        # ansible-core 2.16 has a kind of string of which str() makes another one of that kind.
        return str.__str__(value)
    for plain in (int, float):
        if isinstance(value, plain):
            return plain(value)
    if isinstance(value, Mapping):
        return {plain_copy(key): plain_copy(item) for key, item in value.items()}
    if isinstance(value, Sequence):
        return [plain_copy(item) for item in value]
    raise YamlTextError(f"Failed to write a value of type {type(value).__name__}: it has no plain form in YAML")


def _root(text: str) -> Optional[yaml.MappingNode]:
    if text.lstrip("\ufeff").startswith(VAULT_HEADER):
        raise YamlTextError("Failed to read the variables: the file is encrypted with Ansible Vault")
    try:
        node = yaml.compose(text, Loader=yaml.SafeLoader)
    except yaml.YAMLError as exc:
        raise YamlTextError(f"Failed to read the variables: {exc}") from exc
    if node is None or (isinstance(node, yaml.ScalarNode) and node.value == "" and not node.style):
        return None
    if not isinstance(node, yaml.MappingNode):
        raise YamlTextError("Failed to read the variables: the file holds no mapping of names to values")
    names = [name.value for name, _value in node.value if isinstance(name, yaml.ScalarNode) and name.tag != _MERGE_TAG]
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        raise YamlTextError(f"Failed to read the variables: {', '.join(twice)} is there more than once")
    return node


def _pairs(root: Optional[yaml.MappingNode]) -> list[tuple[yaml.Node, yaml.Node]]:
    return [] if root is None else list(root.value)


def _is(name: yaml.Node, key: str) -> bool:
    return isinstance(name, yaml.ScalarNode) and name.value == key


def _entry(text: str, root: Optional[yaml.MappingNode], key: str) -> Optional[_Entry]:
    pairs = _pairs(root)
    for number, (name, node) in enumerate(pairs):
        if _is(name, key):
            behind = _index(name.end_mark)
            following = pairs[number + 1 : number + 2]
            limit = _index(following[0][0].start_mark) if following else len(text)
            return _Entry(node, text.index(":", behind), limit)
    return None


def _plain(node: yaml.Node) -> Any:
    try:
        return _Loader("").construct_object(node, deep=True)
    except yaml.YAMLError as exc:
        raise YamlTextError(f"Failed to read the variables: {str(exc).splitlines()[0]}") from exc


def _same(node: yaml.Node, wanted: Any) -> bool:
    try:
        return bool(_plain(node) == wanted)
    except YamlTextError:
        return False


def _lines(wanted: Any) -> list[str]:
    """Return what stands behind the colon: its rest of the line, then the lines below it."""
    if isinstance(wanted, (list, dict)) and wanted:
        dumped = _dumped(wanted, default_flow_style=False)
        return ["", *(f"{_INDENT}{line}" for line in dumped.split("\n") if line)]
    if isinstance(wanted, str) and hides(wanted):
        first = _dumped(wanted, default_style='"').rstrip("\n")
        return [f" {first}"]
    tag = f"{_UNSAFE_TAG} " if isinstance(wanted, str) and _TEMPLATE.search(wanted) else ""
    return [f" {tag}{json.dumps(wanted, ensure_ascii=False)}"]


def _dumped(wanted: Any, **style: Any) -> str:
    """Return YAML in which a character that would be invisible is an escape."""
    plain = not any(hides(text) for text in _texts(wanted))
    return str(yaml.dump(_tagged(wanted), Dumper=_Dumper, sort_keys=False, allow_unicode=plain, width=10**6, **style))


def _tagged(wanted: Any) -> Any:
    if isinstance(wanted, str):
        return _Unsafe(wanted) if _TEMPLATE.search(wanted) else wanted
    if isinstance(wanted, dict):
        return {_tagged(key): _tagged(item) for key, item in wanted.items()}
    return [_tagged(item) for item in wanted] if isinstance(wanted, list) else wanted


def _texts(wanted: Any) -> Iterator[str]:
    if isinstance(wanted, str):
        yield wanted
    elif isinstance(wanted, dict):
        for pair in wanted.items():
            yield from _texts(list(pair))
    elif isinstance(wanted, list):
        for item in wanted:
            yield from _texts(item)


def _templates(node: yaml.Node, above: tuple[int, ...]) -> Iterator[str]:
    """Yield the strings below a node that are templates to Ansible."""
    if node.tag == _UNSAFE_TAG or id(node) in above:
        return
    inside = (*above, id(node))
    if isinstance(node, yaml.ScalarNode):
        if _TEMPLATE.search(node.value):
            yield str(node.value)
        return
    for item in node.value:
        for each in item if isinstance(node, yaml.MappingNode) else (item,):
            yield from _templates(each, inside)


def _appended(text: str, root: Optional[yaml.MappingNode], key: str, wanted: Any) -> str:
    newline = _newline(text)
    indent = " " * (root.value[0][0].start_mark.column if root is not None else 0)
    position = next((_index(token.start_mark) for token in _tokens(text, yaml.DocumentEndToken)), len(text))
    before = text[:position] if text.strip() else f"---{newline}"
    if not before.endswith("\n"):
        before += newline
    first, *more = _lines(wanted)
    return before + "".join(f"{indent}{line}{newline}" for line in (f"{key}:{first}", *more)) + text[position:]


def _replaced(text: str, entry: _Entry, key: str, wanted: Any) -> str:
    _refuse_special(text, entry, key)
    start, end = _span(entry.value)
    end = start + len(text[start:end].rstrip())
    newline = _newline(text)
    indent = " " * (entry.colon - len(key) - (text.rfind("\n", 0, entry.colon) + 1))
    remark, rest = _split_line(text[end:])
    first, *more = _lines(wanted)
    below = "".join(f"{newline}{indent}{line}" for line in more)
    if _is_block(entry.value):
        behind_key, remarks_below = _split_line(text[entry.colon + 1 : start].rstrip())
        above = behind_key + remarks_below if more else behind_key
        return text[: entry.colon + 1] + (f"{above}{below}" if more else f"{first}{above}") + rest
    return text[: entry.colon + 1] + first + remark + below + rest


def _is_block(node: yaml.Node) -> bool:
    return isinstance(node, yaml.CollectionNode) and not node.flow_style


def _split_line(text: str) -> tuple[str, str]:
    """Split behind the first line; its line break goes with the second part."""
    end = re.search(r"\r?\n|\Z", text)
    position = end.start() if end else len(text)
    return text[:position], text[position:]


def _span(node: yaml.Node) -> tuple[int, int]:
    """Return where a value starts and ends; a block collection's own end mark lies behind the remarks after it."""
    end = _index(node.end_mark)
    if _is_block(node) and node.value:
        last = node.value[-1]
        end = _span(last[1] if isinstance(node, yaml.MappingNode) else last)[1]
    return _index(node.start_mark), end


def _refuse_special(text: str, entry: _Entry, key: str) -> None:
    if entry.value.tag == "!vault":
        raise YamlTextError(f"Failed to set {key}: its value is encrypted with Ansible Vault")
    templates = [visible(each) for each in _templates(entry.value, ())]
    if templates:
        raise YamlTextError(f"Failed to set {key}: its value is a template or has one in it: {templates[0]}")
    for token in _tokens(text, (yaml.AnchorToken, yaml.AliasToken, yaml.ScalarToken)):
        if not entry.colon < _index(token.start_mark) < entry.limit:
            continue
        if not isinstance(token, yaml.ScalarToken):
            raise YamlTextError(f"Failed to set {key}: its value has an anchor or an alias in it")
        if token.plain and token.value == "<<":
            raise YamlTextError(f"Failed to set {key}: its value merges another one")


def _tokens(text: str, kinds: Any) -> Iterator[Any]:
    return (token for token in yaml.scan(text, Loader=yaml.SafeLoader) if isinstance(token, kinds))


def _index(mark: Any) -> int:
    return int(mark.index)


def _newline(text: str) -> str:
    return "\r\n" if "\r\n" in text else "\n"


def _verify(before: str, after: str, key: str, wanted: Any) -> None:
    try:
        safe = _others(before, key) == _others(after, key) and get_key(after, key) == wanted
    except YamlTextError:
        safe = False
    if not safe:
        raise YamlTextError(f"Failed to set {key}: the file is written in a way that cannot be edited safely")


def _others(text: str, key: str) -> list[tuple[Any, Any]]:
    pairs = _pairs(_root(text))
    return [(_fingerprint(name, ()), _fingerprint(node, ())) for name, node in pairs if not _is(name, key)]


def _fingerprint(node: yaml.Node, above: tuple[int, ...]) -> Any:
    if id(node) in above:
        return ("recursion", above.index(id(node)))
    inside = (*above, id(node))
    if isinstance(node, yaml.MappingNode):
        return (node.tag, [(_fingerprint(name, inside), _fingerprint(item, inside)) for name, item in node.value])
    if isinstance(node, yaml.SequenceNode):
        return (node.tag, [_fingerprint(item, inside) for item in node.value])
    return (node.tag, node.value)
