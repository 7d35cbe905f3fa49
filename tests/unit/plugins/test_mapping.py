# SPDX-FileCopyrightText: 2026 The kvmsnap.ontap authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""KVM_VM_MAPPING in both forms, read and written."""

from __future__ import annotations

import itertools
from typing import Any

import pytest

from ansible_collections.kvmsnap.ontap.plugins.filter.kvm_vm_mapping import FilterModule
from ansible_collections.kvmsnap.ontap.plugins.module_utils._errors import InputError
from ansible_collections.kvmsnap.ontap.plugins.module_utils._mapping import (
    MappingEntry,
    format_mapping,
    listed,
    parse_mapping,
    parse_vm_list,
)

A = MappingEntry("VM1", "s_c1", "/vol/vol1/lun1")
B = MappingEntry("VM2", "s_c2", "/vol/vol2/lun2")


@pytest.mark.parametrize(
    ("text", "entries"),
    [
        ("VM1:s_c1:/vol/vol1/lun1;VM2:s_c2:/vol/vol2/lun2;", [A, B]),
        ("VM1:s_c1:/vol/vol1/lun1;VM2:s_c2:/vol/vol2/lun2", [A, B]),
        (" VM1 : s_c1 : /vol/vol1/lun1 ;\n VM2 :\ts_c2:/vol/vol2/lun2 ; ", [A, B]),
        ("", []),
        (" \n", []),
        (None, []),
        ([], []),
        ("VM1:s_c1:/vol/vol1/lun1;VM1:s_c1:/vol/vol2/data;", [A, MappingEntry("VM1", "s_c1", "/vol/vol2/data")]),
        ("v:[2001:db8::1]:/vol/v/a.img;", [MappingEntry("v", "2001:db8::1", "/vol/v/a.img")]),
        ("v: [fe80::1%eth0] :/vol/v/a.img;", [MappingEntry("v", "fe80::1%eth0", "/vol/v/a.img")]),
        ("v:192.0.2.7:/vol/v/a.img", [MappingEntry("v", "192.0.2.7", "/vol/v/a.img")]),
        ("v:c:/vol/v/12:30 backup/a:b.img", [MappingEntry("v", "c", "/vol/v/12:30 backup/a:b.img")]),
        ("my guest (1):c:/vol/v/d/é ü/a.img", [MappingEntry("my guest (1)", "c", "/vol/v/d/é ü/a.img")]),
    ],
)
def test_string_form(text: Any, entries: list[MappingEntry]) -> None:
    assert parse_mapping(text) == entries


@pytest.mark.parametrize(
    ("value", "number", "why"),
    [
        ("VM1:s_c1:/vol/vol1/lun1;VM2:s_c2;", 2, "the path is missing"),
        ("VM1;", 1, "the controller and the path are missing"),
        ("VM1:s_c1:/vol/vol1/lun1;;VM2:s_c2:/vol/vol2/lun2;", 2, "it is empty"),
        (";", 1, "it is empty"),
        (":s_c1:/vol/vol1/lun1;", 1, "the guest is empty"),
        ("VM1: :/vol/vol1/lun1;", 1, "the controller is empty"),
        ("VM1:s_c1:;", 1, "the path is empty"),
        ("VM1:s_c1:/vol/vol1/../vol2/lun2;", 1, "'..'"),
        ("VM1:s_c1:/vol/../etc/passwd;", 1, "'..'"),
        ("VM1:s_c1:/vol/vol1/./lun;", 1, "'.'"),
        ("VM1:s_c1:/vol/vol1//lun;", 1, "empty"),
        ("VM1:s_c1:/vol/vol1/;", 1, "empty"),
        ("VM1:s_c1:/vol/vol1;", 1, "is not /vol/<volume>/<path>"),
        ("VM1:s_c1:/vol//lun;", 1, "is not /vol/<volume>/<path>"),
        ("VM1:s_c1:vol/vol1/lun;", 1, "is not /vol/<volume>/<path>"),
        ("VM1:s_c1:/VOL/vol1/lun;", 1, "is not /vol/<volume>/<path>"),
        ("VM1:2001:db8::1:/vol/vol1/lun;", 1, "an IPv6 controller stands in brackets"),
        ("VM1:[2001:db8::1:/vol/vol1/lun;", 1, "bracket is not closed"),
        ("VM1:[nonsense]:/vol/vol1/lun;", 1, "no IPv6 address"),
        ("VM1:[192.0.2.1]:/vol/vol1/lun;", 1, "no IPv6 address"),
        ("VM1:c/d:/vol/vol1/lun;", 1, "'/'"),
        ("VM1:c:/vol/vol1/l\0un;", 1, "NUL"),
        ([{"guest": "VM1", "controller": "c"}], 1, "the path is missing"),
        ([{"guest": "VM1", "controller": "c", "path": 7}], 1, "the path is no text"),
        ([{"guest": "VM1", "controller": "c", "path": "/vol/v/l", "lun": "x"}], 1, "unknown key lun"),
        ([{"guest": "VM1", "controller": "a:b", "path": "/vol/v/l"}], 1, "no IPv6 address"),
        ([A.as_dict(), "VM2:s_c2:/vol/vol2/lun2"], 2, "it must have guest, controller, path"),
    ],
)
def test_bad_entries_are_named(value: Any, number: int, why: str) -> None:
    with pytest.raises(InputError) as caught:
        parse_mapping(value)
    assert caught.value.message.startswith(f"Entry {number} of the mapping, ")
    assert why in caught.value.message
    assert caught.value.fields == {"entry": number}


@pytest.mark.parametrize("value", [7, {"guest": "VM1"}])
def test_other_kinds_are_refused(value: Any) -> None:
    with pytest.raises(InputError, match="must be a string or a list"):
        parse_mapping(value)


def test_what_is_written_is_read_again_the_same() -> None:
    guests = ["VM1", "my guest", "ünï-☃", "a.b_c-1"]
    controllers = ["s_c1", "192.0.2.7", "2001:db8::1", "nas.example.org"]
    paths = ["/vol/v/a", "/vol/v/d/a:b", "/vol/v/x y/ü.img", "/vol/v/...", "/vol/v/a\nb"]
    entries = [MappingEntry(*each) for each in itertools.product(guests, controllers, paths)]
    text = format_mapping(entries)
    assert text.endswith(";")
    assert parse_mapping(text) == entries
    assert parse_mapping([entry.as_dict() for entry in entries]) == entries
    assert parse_mapping(entries) == entries


@pytest.mark.parametrize(
    "entry",
    [
        MappingEntry("VM1", "c", "/vol/v/a;b"),
        MappingEntry("VM:1", "c", "/vol/v/a"),
        MappingEntry("VM1 ", "c", "/vol/v/a"),
        MappingEntry("VM1", "c", "/vol/v/a\n"),
    ],
)
def test_what_cannot_be_written_is_refused(entry: MappingEntry) -> None:
    assert not entry.writable
    with pytest.raises(InputError, match="Entry 2 of the mapping"):
        format_mapping([A, entry])
    assert parse_mapping([entry.as_dict()]) == [entry]


@pytest.mark.parametrize(
    ("values", "names"),
    [(["a", " b"], ["a", "b"]), ([""], []), (["a", " ", "b\n"], ["a", "b"]), (["a b"], ["a b"]), ([], [])],
)
def test_a_list_as_people_type_it(values: list[str], names: list[str]) -> None:
    assert listed(values) == names


def test_parts_of_the_path() -> None:
    entry = MappingEntry("v", "c", "/vol/kvm_vol1/dir/a.img")
    assert (entry.volume, entry.inner_path) == ("kvm_vol1", "dir/a.img")


@pytest.mark.parametrize(
    ("value", "names"),
    [
        ("VM1,VM2", ["VM1", "VM2"]),
        (" VM1 , VM2 ,", ["VM1", "VM2"]),
        ("VM1", ["VM1"]),
        (["VM1", " VM2", "VM1"], ["VM1", "VM2"]),
        (["a,b"], ["a,b"]),
    ],
)
def test_vm_list(value: Any, names: list[str]) -> None:
    assert parse_vm_list(value) == names


@pytest.mark.parametrize(
    ("value", "why"),
    [
        ("", "is empty"),
        (" , ", "is empty"),
        ([], "is empty"),
        ("VM1,,VM2", "Guest 2 of the list is empty"),
        (["VM1", ""], "Guest 2 of the list is empty"),
        ([1], "Guest 1 of the list is 1"),
        ({"VM1": 1}, "must be a string or a list"),
        (7, "must be a string or a list"),
    ],
)
def test_bad_vm_list(value: Any, why: str) -> None:
    with pytest.raises(InputError, match=why):
        parse_vm_list(value)


def test_filters() -> None:
    filters = FilterModule().filters()
    text = "VM1:s_c1:/vol/vol1/lun1;VM2:s_c2:/vol/vol2/lun2;"
    assert filters["kvm_vm_mapping_to_list"](text) == [A.as_dict(), B.as_dict()]
    assert filters["kvm_vm_mapping_to_string"]([A.as_dict(), B.as_dict()]) == text


def test_filters_tell_bad_input_as_ansible_does() -> None:
    from ansible.errors import AnsibleFilterError

    for name, func in FilterModule().filters().items():
        with pytest.raises(AnsibleFilterError, match="Entry 1 of the mapping"):
            func("VM1;")
        assert name.startswith("kvm_vm_mapping_to_")
