# SPDX-FileCopyrightText: 2026 The kvmsnap.ontap authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The file for a host's variable is the one that Ansible reads."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
import yaml
from ansible import constants
from ansible.errors import AnsibleLookupError
from ansible.parsing.dataloader import DataLoader

from ansible_collections.kvmsnap.ontap.plugins.lookup import host_vars_file
from ansible_collections.kvmsnap.ontap.plugins.plugin_utils._host_vars import HostVarsError, find_file, inventory_home

KEY = "kvm_vm_mapping"
WITH = f"---\n{KEY}: here\n"
WITHOUT = "---\nother: 1\n"
VAULT = "$ANSIBLE_VAULT;1.1;AES256\n3132\n"

PLACES = {
    "nothing at all": ({}, "hv1.yml", None),
    "another host only": ({"hv2.yml": WITH}, "hv1.yml", None),
    "yml": ({"hv1.yml": WITH}, "hv1.yml", "here"),
    "yaml": ({"hv1.yaml": WITHOUT}, "hv1.yaml", None),
    "no extension": ({"hv1": WITH}, "hv1", "here"),
    "yml before yaml": ({"hv1.yml": WITHOUT, "hv1.yaml": WITH}, "hv1.yml", None),
    "directory before yml": ({"hv1/a.yml": WITHOUT, "hv1.yml": WITH}, "hv1/main.yml", None),
    "file with the key": ({"hv1/main.yml": WITHOUT, "hv1/z.yml": WITH}, "hv1/z.yml", "here"),
    "file in a folder": ({"hv1/main.yml": WITHOUT, "hv1/more/z.yaml": WITH}, "hv1/more/z.yaml", "here"),
    "main.yml": ({"hv1/main.yml": WITHOUT, "hv1/a.yml": WITHOUT}, "hv1/main.yml", None),
    "main.yaml": ({"hv1/main.yaml": WITHOUT, "hv1/a.yml": WITHOUT}, "hv1/main.yaml", None),
    "files that Ansible passes over": (
        {"hv1/.a.yml": WITH, "hv1/b.yml~": WITH, "hv1/c.txt": WITH},
        "hv1/main.yml",
        None,
    ),
    "encrypted beside": ({"hv1/vault.yml": VAULT, "hv1/vars.yml": WITH}, "hv1/vars.yml", "here"),
}


@pytest.fixture(name="directory")
def _directory(tmp_path: Path) -> Path:
    return tmp_path / "host_vars"


def _fill(directory: Path, files: dict[str, str]) -> None:
    for name, text in files.items():
        path = directory / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")


@pytest.mark.parametrize("case", PLACES)
def test_chooses_the_file(case: str, directory: Path) -> None:
    files, expected, value = PLACES[case]
    _fill(directory, files)
    found = find_file(directory, host="hv1", key=KEY)
    assert found.path == directory / expected
    assert found.value == value
    assert found.text == files.get(expected, "")


@pytest.mark.parametrize("case", [case for case in PLACES if "encrypted" not in case])
def test_ansible_reads_the_file_that_was_chosen(case: str, directory: Path) -> None:
    files = PLACES[case][0]
    _fill(directory, files)
    found = find_file(directory, host="hv1", key=KEY)
    found.path.parent.mkdir(parents=True, exist_ok=True)
    found.path.write_text(found.text or WITH, encoding="utf-8")
    read = [os.fsdecode(path) for path in DataLoader().find_vars_files(str(directory), "hv1")]
    assert str(found.path) in read


def test_two_files_with_the_key_are_refused(directory: Path) -> None:
    _fill(directory, {"hv1/a.yml": WITH, "hv1/b.yml": WITH})
    with pytest.raises(HostVarsError, match=r"hv1/a\.yml, .*hv1/b\.yml all have it"):
        find_file(directory, host="hv1", key=KEY)


@pytest.mark.parametrize("files", [{"hv1.yml": VAULT}, {"hv1/main.yml": VAULT, "hv1/a.yml": WITHOUT}])
def test_an_encrypted_place_is_refused(files: dict[str, str], directory: Path) -> None:
    _fill(directory, files)
    with pytest.raises(HostVarsError, match="is encrypted with Ansible Vault; keep"):
        find_file(directory, host="hv1", key=KEY)


@pytest.mark.parametrize("host", ["", ".", "..", "../x", "a/b"])
def test_a_host_that_is_no_file_name_is_refused(host: str, directory: Path) -> None:
    with pytest.raises(HostVarsError, match="no file name"):
        find_file(directory, host=host, key=KEY)


def test_what_is_no_mapping_is_refused(directory: Path) -> None:
    _fill(directory, {"hv1.yml": "- a\n"})
    with pytest.raises(HostVarsError, match=r"no mapping .* \(.*/hv1\.yml\)"):
        find_file(directory, host="hv1", key=KEY)


def test_what_is_no_text_is_refused(directory: Path) -> None:
    _fill(directory, {"hv1.yml": ""})
    (directory / "hv1.yml").write_bytes(b"\xff\xfe")
    with pytest.raises(HostVarsError, match="Failed to read"):
        find_file(directory, host="hv1", key=KEY)


def test_mode_and_line_ends_are_those_of_the_file(directory: Path) -> None:
    _fill(directory, {"hv1.yml": ""})
    (directory / "hv1.yml").write_bytes(b"a: 1\r\n")
    (directory / "hv1.yml").chmod(0o640)
    found = find_file(directory, host="hv1", key=KEY)
    assert (found.text, found.mode) == ("a: 1\r\n", "0640")
    assert find_file(directory, host="hv2", key=KEY).mode == "0644"


@pytest.mark.parametrize(
    ("sources", "inventory_dir", "home"),
    [
        (["inv/hosts.yml"], "inv", "inv"),
        (["inv"], "inv", "inv"),
        (["inv"], "inv/prod", "inv"),
        (["other/hosts", "inv/hosts.yml"], "inv", "inv"),
        (["hv2,", "inv"], "inv", "inv"),
        ([], "inv", "inv"),
    ],
)
def test_the_directory_is_the_one_that_ansible_reads(
    sources: list[str], inventory_dir: str, home: str, tmp_path: Path
) -> None:
    (tmp_path / "inv" / "prod").mkdir(parents=True)
    (tmp_path / "other").mkdir()
    variables = {
        "inventory_dir": str(tmp_path / inventory_dir),
        "ansible_inventory_sources": [str(tmp_path / source) for source in sources],
    }
    assert inventory_home(variables) == tmp_path / home / "host_vars"


@pytest.mark.parametrize(
    ("variables", "reason"),
    [
        ({"inventory_dir": "/runner/inventory", "awx_job_id": 7}, "an inventory of AWX"),
        ({"inventory_dir": None}, "comes from no inventory file"),
        ({}, "comes from no inventory file"),
        ({"inventory_dir": "/home/me", "ansible_inventory_sources": ["hv1,"]}, "comes from no inventory file"),
        (
            {"inventory_dir": "/home/me", "ansible_inventory_sources": ["/inv/hosts.yml", "hv1,"]},
            "comes from no inventory file",
        ),
    ],
)
def test_an_inventory_without_a_directory_is_refused(variables: dict[str, object], reason: str) -> None:
    with pytest.raises(HostVarsError, match=reason):
        inventory_home(variables)


def test_the_lookup_answers_and_tells_its_errors(directory: Path) -> None:
    _fill(directory, {"hv1.yml": WITH, "hv2.yml": "- a\n"})
    options = yaml.safe_load(host_vars_file.DOCUMENTATION)["options"]
    constants.config.initialize_plugin_configuration_definitions("lookup", "host_vars_file", options)
    lookup = host_vars_file.LookupModule()
    lookup._load_name = "host_vars_file"
    found = lookup.run([KEY], {}, directory=str(directory), host="hv1")
    assert found == [{"path": str(directory / "hv1.yml"), "text": WITH, "mode": found[0]["mode"], "value": "here"}]
    assert lookup.run([KEY], {"inventory_dir": str(directory.parent)}, host="hv1") == found
    with pytest.raises(AnsibleLookupError, match="no mapping"):
        lookup.run([KEY], {}, directory=str(directory), host="hv2")
