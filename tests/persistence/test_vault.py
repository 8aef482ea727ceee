"""Secrets at rest and the key file."""

from pathlib import Path

import pytest

from comserv.domain.errors import ConfigurationError
from comserv.persistence.vault import Vault, load_or_create_key, new_key

ROW = {"table": "servers", "row": "rack", "column": "token_secret"}


def test_what_was_encrypted_comes_back_and_looks_different_every_time() -> None:
    vault = Vault(new_key())
    first, second = vault.encrypt("geheim ✓", **ROW), vault.encrypt("geheim ✓", **ROW)
    assert first != second and b"geheim" not in first
    assert vault.decrypt(first, **ROW) == vault.decrypt(second, **ROW) == "geheim ✓"


@pytest.mark.parametrize("other", [{"table": "job_secrets"}, {"row": "lab"}, {"column": "name"}])
def test_a_value_moved_to_another_row_table_or_column_is_refused(other: dict[str, str]) -> None:
    vault = Vault(new_key())
    with pytest.raises(ConfigurationError, match="belongs to another row"):
        vault.decrypt(vault.encrypt("secret", **ROW), **{**ROW, **other})


def test_row_and_column_cannot_be_shifted_into_each_other() -> None:
    vault = Vault(new_key())
    with pytest.raises(ConfigurationError):
        vault.decrypt(vault.encrypt("x", table="a", row="bc", column="d"), table="a", row="b", column="cd")


def test_a_changed_byte_is_noticed() -> None:
    vault = Vault(new_key())
    sealed = bytearray(vault.encrypt("secret", **ROW))
    sealed[-1] ^= 1
    with pytest.raises(ConfigurationError):
        vault.decrypt(bytes(sealed), **ROW)


def test_another_key_says_which_key_is_missing() -> None:
    with pytest.raises(
        ConfigurationError, match="token_secret of servers rack was encrypted with a key that is not here"
    ):
        Vault(new_key()).decrypt(Vault(new_key()).encrypt("secret", **ROW), **ROW)


def test_after_a_rotation_old_values_are_read_and_new_ones_use_the_new_key() -> None:
    old, new = new_key(), new_key()
    sealed = Vault(old).encrypt("secret", **ROW)
    both = Vault(f"{new}\n{old}\n")
    assert both.decrypt(sealed, **ROW) == "secret" and not both.is_current(sealed)
    renewed = both.encrypt("secret", **ROW)
    assert both.is_current(renewed) and Vault(new).decrypt(renewed, **ROW) == "secret"


def test_keyed_hashes_differ_by_key_and_purpose_and_old_ones_are_still_known_after_a_rotation() -> None:
    old, new = new_key(), new_key()
    digest = Vault(old).keyed_hash(b"message", "marker")
    assert digest != Vault(new).keyed_hash(b"message", "marker")
    assert digest != Vault(old).keyed_hash(b"message", "fingerprint")
    assert Vault(f"{new}\n{old}").verify(b"message", digest, "marker")
    assert not Vault(new).verify(b"message", digest, "marker")


def test_a_key_file_is_made_once_and_only_its_owner_may_read_it(tmp_path: Path) -> None:
    path = tmp_path / "key"
    first = load_or_create_key(path)
    assert load_or_create_key(path) == first
    assert path.stat().st_mode & 0o777 == 0o600
    assert [entry.name for entry in tmp_path.iterdir()] == ["key"]
    Vault(first)


def test_a_key_file_that_others_can_read_is_refused_with_the_command_that_cures_it(tmp_path: Path) -> None:
    path = tmp_path / "key"
    load_or_create_key(path)
    path.chmod(0o640)
    with pytest.raises(ConfigurationError) as refused:
        load_or_create_key(path)
    assert refused.value.cure == f"Run: chmod 600 {path}"


def test_a_credential_of_systemd_is_taken_although_its_acl_shows_as_a_wider_mode(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "comserv-key"
    key = load_or_create_key(path)
    path.chmod(0o440)
    monkeypatch.setenv("CREDENTIALS_DIRECTORY", str(tmp_path))
    assert load_or_create_key(path) == key


@pytest.mark.parametrize("text", ["", "short", "!!!", "QUFB" * 9])
def test_what_is_no_key_is_refused(text: str) -> None:
    with pytest.raises(ConfigurationError):
        Vault(text)
