# SPDX-FileCopyrightText: 2026 The kvmsnap.ontap authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""One key of a YAML file is set and nothing else moves."""

from __future__ import annotations

from typing import Any

import pytest
import yaml
from ansible.errors import AnsibleFilterError

from ansible_collections.kvmsnap.ontap.plugins.filter.set_yaml_key import FilterModule, set_yaml_key
from ansible_collections.kvmsnap.ontap.plugins.plugin_utils._yaml_text import (
    ABSENT,
    YamlTextError,
    get_key,
    plain_copy,
    templates_in,
)

KEY = "kvm_vm_mapping"
NEW = "VM1:svm1:/vol/vol1/a.img;"
LIST = [{"guest": "VM1", "controller": "svm1", "path": "/vol/vol1/a.img"}]
AS_LIST = "  - guest: VM1\n    controller: svm1\n    path: /vol/vol1/a.img\n"

STRING_CASES = {
    "empty text": ("", f'---\nkvm_vm_mapping: "{NEW}"\n'),
    "blank lines only": ("\n\n", f'---\nkvm_vm_mapping: "{NEW}"\n'),
    "document start only": ("---\n", f'---\nkvm_vm_mapping: "{NEW}"\n'),
    "document start without line end": ("---", f'---\nkvm_vm_mapping: "{NEW}"\n'),
    "remarks only": ("# mine\n", f'# mine\nkvm_vm_mapping: "{NEW}"\n'),
    "appended": ("---\na: 1  # one\n\n# end\n", f'---\na: 1  # one\n\n# end\nkvm_vm_mapping: "{NEW}"\n'),
    "appended without line end": ("a: 1", f'a: 1\nkvm_vm_mapping: "{NEW}"\n'),
    "appended before document end": ("a: 1\n...\n# x\n", f'a: 1\nkvm_vm_mapping: "{NEW}"\n...\n# x\n'),
    "appended to indented keys": ("  a: 1\n  b: 2\n", f'  a: 1\n  b: 2\n  kvm_vm_mapping: "{NEW}"\n'),
    "appended behind a root tag": ("--- !!map\na: 1\n", f'--- !!map\na: 1\nkvm_vm_mapping: "{NEW}"\n'),
    "appended behind a list": ("a:\n- 1\n- 2\n", f'a:\n- 1\n- 2\nkvm_vm_mapping: "{NEW}"\n'),
    "windows line ends": ("a: 1\r\n", f'a: 1\r\nkvm_vm_mapping: "{NEW}"\r\n'),
    "byte order mark": ("\ufeffa: 1\n", f'\ufeffa: 1\nkvm_vm_mapping: "{NEW}"\n'),
    "plain": ("kvm_vm_mapping: old\nb: 2\n", f'kvm_vm_mapping: "{NEW}"\nb: 2\n'),
    "no line end": ("kvm_vm_mapping: old", f'kvm_vm_mapping: "{NEW}"'),
    "remark kept": ("kvm_vm_mapping: 'old'   # mine\nb: 2\n", f'kvm_vm_mapping: "{NEW}"   # mine\nb: 2\n'),
    "windows remark kept": ("kvm_vm_mapping: old # r\r\nb: 2\r\n", f'kvm_vm_mapping: "{NEW}" # r\r\nb: 2\r\n'),
    "hash inside quotes": ('kvm_vm_mapping: "a # b"\nb: 2\n', f'kvm_vm_mapping: "{NEW}"\nb: 2\n'),
    "null": ("kvm_vm_mapping:\nb: 2\n", f'kvm_vm_mapping: "{NEW}"\nb: 2\n'),
    "null with remark": ("kvm_vm_mapping:  # none yet\nb: 2\n", f'kvm_vm_mapping: "{NEW}"  # none yet\nb: 2\n'),
    "null at the end": ("b: 2\nkvm_vm_mapping:", f'b: 2\nkvm_vm_mapping: "{NEW}"'),
    "quoted key": ('"kvm_vm_mapping": old\n', f'"kvm_vm_mapping": "{NEW}"\n'),
    "blank before colon": ("kvm_vm_mapping : old\n", f'kvm_vm_mapping : "{NEW}"\n'),
    "on the next line": ("kvm_vm_mapping:\n  old\nb: 2\n", f'kvm_vm_mapping: "{NEW}"\nb: 2\n'),
    "several plain lines": ("kvm_vm_mapping: old\n  older\n# r\nb: 2\n", f'kvm_vm_mapping: "{NEW}"\n# r\nb: 2\n'),
    "folded": (
        "kvm_vm_mapping: >-\n  VM9:s:/vol/a/b;\n  VM8:s:/vol/a/c;\n\n# about b\nb: 2\n",
        f'kvm_vm_mapping: "{NEW}"\n\n# about b\nb: 2\n',
    ),
    "literal kept": ("kvm_vm_mapping: |+\n  old\n\n\nb: 2\n", f'kvm_vm_mapping: "{NEW}"\n\n\nb: 2\n'),
    "tagged": ("kvm_vm_mapping: !unsafe old\nb: 2\n", f'kvm_vm_mapping: "{NEW}"\nb: 2\n'),
    "like-named keys": (
        "kvm_vm_mapping_old: a\nx: {kvm_vm_mapping: b}\ny:\n  kvm_vm_mapping: c\n",
        f'kvm_vm_mapping_old: a\nx: {{kvm_vm_mapping: b}}\ny:\n  kvm_vm_mapping: c\nkvm_vm_mapping: "{NEW}"\n',
    ),
    "block list to string": (
        "a: 1\nkvm_vm_mapping:  # r\n  # inner\n  - old  # i\n# about b\nb: 2\n",
        f'a: 1\nkvm_vm_mapping: "{NEW}"  # r\n# about b\nb: 2\n',
    ),
    "vault value elsewhere": (
        "p: !vault |\n  $ANSIBLE_VAULT;1.1;AES256\n  3132\nkvm_vm_mapping: old\n",
        f'p: !vault |\n  $ANSIBLE_VAULT;1.1;AES256\n  3132\nkvm_vm_mapping: "{NEW}"\n',
    ),
    "anchors elsewhere": (
        "base: &base {a: 1}\nmore:\n  <<: *base\nkvm_vm_mapping: old\nlast: *base\n",
        f'base: &base {{a: 1}}\nmore:\n  <<: *base\nkvm_vm_mapping: "{NEW}"\nlast: *base\n',
    ),
    "templates elsewhere": ('a: "{{ b }}"\nkvm_vm_mapping: x\n', f'a: "{{{{ b }}}}"\nkvm_vm_mapping: "{NEW}"\n'),
}

LIST_CASES = {
    "appended": ("a: 1\n", f"a: 1\nkvm_vm_mapping:\n{AS_LIST}"),
    "block list": ("kvm_vm_mapping:\n  - guest: x\n    path: y\nb: 2\n", f"kvm_vm_mapping:\n{AS_LIST}b: 2\n"),
    "block list without indent": (
        "kvm_vm_mapping:\n- guest: x\n- guest: y\nb: 2\n",
        f"kvm_vm_mapping:\n{AS_LIST}b: 2\n",
    ),
    "remarks around": (
        "kvm_vm_mapping:  # r\n  # first\n  - guest: x  # inner\n\n# about b\nb: 2\n",
        f"kvm_vm_mapping:  # r\n  # first\n{AS_LIST}\n# about b\nb: 2\n",
    ),
    "flow list": ("kvm_vm_mapping: [a, b]  # r\nb: 2\n", f"kvm_vm_mapping:  # r\n{AS_LIST}b: 2\n"),
    "flow list over lines": ("kvm_vm_mapping: [a,\n  b]\nb: 2\n", f"kvm_vm_mapping:\n{AS_LIST}b: 2\n"),
    "empty list": ("kvm_vm_mapping: []\n", f"kvm_vm_mapping:\n{AS_LIST}"),
    "indented keys": (
        "  a: 1\n  kvm_vm_mapping: []\n",
        "  a: 1\n  kvm_vm_mapping:\n" + "".join(f"  {line}\n" for line in AS_LIST.splitlines()),
    ),
    "windows line ends": (
        "kvm_vm_mapping:\r\n  - guest: x\r\nb: 2\r\n",
        f"kvm_vm_mapping:\n{AS_LIST}b: 2\n".replace("\n", "\r\n"),
    ),
}

REFUSED = {
    "encrypted file": ("$ANSIBLE_VAULT;1.1;AES256\n31323334\n", "encrypted with Ansible Vault"),
    "list": ("- a\n- b\n", "no mapping"),
    "string": ("hello\n", "no mapping"),
    "quoted empty string": ('""\n', "no mapping"),
    "broken": ("a: [1\n", "Failed to read"),
    "two documents": ("a: 1\n---\nb: 2\n", "single document"),
    "key twice": ("kvm_vm_mapping: a\nkvm_vm_mapping: b\n", "kvm_vm_mapping is there more than once"),
    "other key twice": ("a: 1\na: 2\n", "a is there more than once"),
    "braces": ("{a: 1, kvm_vm_mapping: x}\n", "in braces"),
    "empty braces": ("{}\n", "in braces"),
    "encrypted value": ("kvm_vm_mapping: !vault |\n  $ANSIBLE_VAULT;1.1;AES256\n  3132\n", "value is encrypted"),
    "template": ('kvm_vm_mapping: "{{ other }}"\n', "is a template"),
    "anchor": ("kvm_vm_mapping: &m old\nb: *m\n", "anchor or an alias"),
    "alias": ("a: &m old\nkvm_vm_mapping: *m\nb: 1\n", "anchor or an alias"),
    "alias inside": ("a: &m {x: 1}\nkvm_vm_mapping:\n  - y\n  - *m\nb: 1\n", "anchor or an alias"),
    "merge inside": ("kvm_vm_mapping:\n  <<: {a: 1}\n  b: 2\n", "merges another"),
    "block text without line end": ("a: |\n  text", "cannot be edited safely"),
}


@pytest.mark.parametrize("case", STRING_CASES)
def test_sets_a_string(case: str) -> None:
    text, expected = STRING_CASES[case]
    assert set_yaml_key(text, KEY, NEW) == expected
    assert yaml.safe_load(expected.replace("!vault", "!!str").replace("!unsafe", "!!str"))[KEY] == NEW


@pytest.mark.parametrize("case", LIST_CASES)
def test_sets_a_list(case: str) -> None:
    text, expected = LIST_CASES[case]
    assert set_yaml_key(text, KEY, LIST) == expected
    assert yaml.safe_load(expected)[KEY] == LIST


ELSEWHERE = {
    "comments": "# head\n\n# on a\na: 1   # one\n\n\n# on b\nb:\n    # deep\n    - x   # x\n    -   y\n# end\n",
    "quotes": "a: 'one'\nb: \"two\\u00e4\\n\"\nc: three\nd: 'it''s'\ne: \"a 'b'\"\n",
    "unsafe": "a: !unsafe '{{ x }}'\nb: !unsafe \"{% y %}\"\nc: !unsafe plain\n",
    "unsafe list": "a: !unsafe\n  - '{{ x }}'\n  - b\n",
    "vault": "p: !vault |\n  $ANSIBLE_VAULT;1.1;AES256\n  31323334\n  35363738\nb: 1\n",
    "vault indented deep": "p: !vault |\n          $ANSIBLE_VAULT;1.1;AES256\n          31323334\nb: 1\n",
    "vault nested": "x:\n  p: !vault |\n    $ANSIBLE_VAULT;1.1;AES256\n    3132\n  q: 1\n",
    "indent 4": "a:\n    b:\n        c: 1\n    d: 2\n",
    "list not indented": "a:\n- 1\n- x: 1\n  y: 2\n",
    "list indented": "a:\n  - 1\n  - x: 1\n    y: 2\n",
    "list indents mixed": "a:\n- 1\nb:\n  - 2\nc:\n    - 3\n",
    "anchors in block": "base: &base\n  a: 1\nmore: &m\n  <<: *base\nlist:\n  - *base\n  - *m\n",
    "merge list": "a: &a {x: 1}\nb: &b {y: 2}\nc:\n  <<: [*a, *b]\n",
    "crlf": "a: 1\r\n# r\r\nb:\r\n  - 2\r\n",
    "crlf block": "a: |\r\n  one\r\n  two\r\nb: 1\r\n",
    "bom": "\ufeffa: 1\nb: 2\n",
    "literal": "a: |\n  one\n   two\n\nb: 1\n",
    "literal keep": "a: |+\n  one\n\n\nb: 1\n",
    "literal strip": "a: |-\n  one\nb: 1\n",
    "literal indent indicator": "a: |2\n    one\n   two\nb: 1\n",
    "folded": "a: >\n  one\n  two\n\n  three\nb: 1\n",
    "folded strip long": "a: >-\n  one two three\n  four\nb: 1\n",
    "plain multi-line": "a: one\n  two\n  three\nb: 1\n",
    "quoted multi-line": "a: \"one\n  two\"\nb: 'x\n\n  y'\n",
    "flow": "a: {b: 1, c: [x,y]}\nd: [ 1, 2 ]\ne: {b: 1,\n    c: 2}\n",
    "empty values": "a:\nb: ~\nc: null\nd: ''\ne: {}\nf: []\n",
    "booleans": "a: yes\nb: No\nc: on\nd: TRUE\ne: true\n",
    "numbers": "a: 0o17\nb: 017\nc: 0x1F\nd: 1_000\ne: 1e3\nf: 1.50\ng: +1\nh: .5\ni: 12:30:45\n",
    "dates": "a: 2026-11-21\nb: 2026-11-21T02:00:00Z\nc: 2026-11-21 02:00:00 +01:00\n",
    "templates": 'a: "{{ b }}"\nc: \'{{ d | default("x") }}\'\n',
    "document start": "---\na: 1\n",
    "document start remark": "--- # vars\na: 1\n",
    "directive": "%YAML 1.1\n---\na: yes\n",
    "root tag": "--- !!map\na: 1\n",
    "indented keys": "  a: 1\n  b: 2\n",
    "quoted keys": "\"a\": 1\n'b': 2\n",
    "blank before colon": "a : 1\nb   : 2\n",
    "aligned": "a:    1\nbcd:  2\n",
    "long line": "a: " + "word " * 60 + "end\n",
    "unicode": 'a: äöü €\nb: "\\u20ac"\nc: 😀\n',
    "number keys": "1: a\n2.0: b\n'3': c\ntrue: d\n",
    "set and omap": "a: !!set {x, y}\nb: !!omap [x: 1]\n",
    "other tags": "a: !mine {x: 1}\nb: !!str 1\nc: !!binary aGk=\n",
    "remark between list items": "a:\n  - 1\n\n  # two\n  - 2\n\n\n  # end\n",
    "remark under key": "a:  # r\n  # first\n  x: 1\n\nb: 2\n",
    "remark indented at end": "a:\n  x: 1\n  # end of a\n# end\nb: 2\n",
    "blank lines": "\n\na: 1\n\n\n\nb: 2\n\n\n",
    "nested list": "a:\n  - - 1\n    - 2\n  -\n    - 3\n",
    "compact map in list": "a:\n  -   x: 1\n      y: 2\n  - {z: 1}\n",
}
"""Text that people write beside the key, in ways that a YAML library writes otherwise when it writes it again."""


@pytest.mark.parametrize("case", ELSEWHERE)
def test_the_rest_of_the_text_stays_byte_by_byte(case: str) -> None:
    text = ELSEWHERE[case]
    end, indent = "\r\n" if "\r\n" in text else "\n", "  " if text.startswith("  ") else ""
    assert set_yaml_key(text, KEY, NEW) == f'{text}{indent}{KEY}: "{NEW}"{end}'
    before, after = (f"{text}{indent}{KEY}: {value}  # mine{end}" for value in ("old", f'"{NEW}"'))
    assert set_yaml_key(before, KEY, NEW) == after


@pytest.mark.parametrize("value", [NEW, LIST])
@pytest.mark.parametrize("case", [*STRING_CASES, *LIST_CASES])
def test_again_changes_nothing(case: str, value: Any) -> None:
    text = {**STRING_CASES, **LIST_CASES}[case][0]
    once = set_yaml_key(text, KEY, value)
    assert set_yaml_key(once, KEY, value) == once


@pytest.mark.parametrize(
    "text", [f"kvm_vm_mapping: >-\n  {NEW}\n", f"{{kvm_vm_mapping: '{NEW}'}}", f'{KEY}: &m "{NEW}"\n']
)
def test_a_right_value_is_left_as_it_is_written(text: str) -> None:
    assert set_yaml_key(text, KEY, NEW) == text


@pytest.mark.parametrize("case", REFUSED)
def test_refuses_what_is_not_safe(case: str) -> None:
    text, reason = REFUSED[case]
    with pytest.raises(AnsibleFilterError, match=reason):
        set_yaml_key(text, KEY, NEW)


@pytest.mark.parametrize("key", ["", "a b", "1a", "a:b", "a\nb"])
def test_refuses_a_key_that_is_no_variable(key: str) -> None:
    with pytest.raises(AnsibleFilterError, match="no name of a variable"):
        set_yaml_key("a: 1\n", key, NEW)


@pytest.mark.parametrize(
    "value", ['quote " and \\ backslash', "ümlaut: ja # nein", "line\nbreak\ttab", "", "{{ x }}", "[::1]"]
)
def test_any_string_comes_back(value: str) -> None:
    assert get_key(set_yaml_key("a: 1\n", KEY, value), KEY) == value


@pytest.mark.parametrize("character", ["\x7f", "\x1b", "\x9b", "\u202e", "\u200b", "\u2028", "\x85", "\0", "\udc9b"])
@pytest.mark.parametrize("text", ["a{}b", "a{}b {{{{ x }}}}"])
def test_a_character_that_would_be_invisible_is_an_escape(character: str, text: str) -> None:
    value = text.format(character)
    for given in (value, [{"guest": value, "path": "/vol/a/b"}]):
        written = set_yaml_key("a: 1\n", KEY, given)
        assert written.isprintable() or set(filter(lambda each: not each.isprintable(), written)) == {"\n"}
        assert get_key(written, KEY) == given
        assert ("!unsafe" in written) == ("{{" in value)
        assert set_yaml_key(written, KEY, given) == written


TEMPLATE = "/vol/vol1/{{lookup('pipe','touch /tmp/x')}}.img"


@pytest.mark.parametrize("hostile", [TEMPLATE, "a {% if x %}", "{#", "{{ '\"' }}", "- {{ x }}: [", "!vault {{"])
def test_what_ansible_would_take_for_a_template_is_unsafe(hostile: str) -> None:
    entry = {"guest": "VM1", "controller": "svm1", "path": hostile}
    for value in (hostile, [entry], {"a": [hostile]}, {hostile: "x"}):
        written = set_yaml_key("---\nb: 1  # one\n", KEY, value)
        assert written.startswith("---\nb: 1  # one\n")
        assert written.count("!unsafe") == 1
        assert templates_in(written, KEY) == []
        assert get_key(written, KEY) == value
        assert set_yaml_key(written, KEY, value) == written
        assert get_key(set_yaml_key(written, KEY, LIST), KEY) == LIST


def test_an_unsafe_list_is_what_it_says() -> None:
    text = f"{KEY}: !unsafe\n  - guest: '{{{{ x }}}}'\n"
    assert get_key(text, KEY) == [{"guest": "{{ x }}"}]
    assert templates_in(text, KEY) == []


@pytest.mark.parametrize("value", [TEMPLATE, [{"guest": "VM1", "controller": "svm1", "path": TEMPLATE}]])
def test_a_template_that_was_written_before_is_refused_though_it_is_the_same_text(value: Any) -> None:
    before = yaml.safe_dump({KEY: value})
    assert templates_in(before, KEY) == [TEMPLATE]
    with pytest.raises(AnsibleFilterError, match="has one in it: /vol/vol1/"):
        set_yaml_key(before, KEY, value)


@pytest.mark.parametrize("value", [7, 1.5, True, None, [], {}, {"a": [1, {"b": None}]}])
def test_other_plain_values(value: Any) -> None:
    assert get_key(set_yaml_key(f"{KEY}: old\nb: 1\n", KEY, value), KEY) == value


def test_get_key_tells_absent_from_null() -> None:
    assert get_key("a:\n", "a") is None
    assert get_key("a:\n", "b") is ABSENT
    assert get_key("", "b") is ABSENT


def test_plain_copy_strips_subclasses_and_refuses_objects() -> None:
    class Text(str):
        __slots__ = ()

    class Items(list[Any]):
        pass

    copied = plain_copy({Text("a"): Items([Text("b"), (1, 2)])})
    assert copied == {"a": ["b", [1, 2]]}
    assert [key.__class__ for key in copied] == [str]
    assert copied["a"].__class__ is list
    with pytest.raises(YamlTextError, match="no plain form"):
        plain_copy(object())


def test_the_filter_is_registered() -> None:
    assert FilterModule().filters() == {"set_yaml_key": set_yaml_key}
