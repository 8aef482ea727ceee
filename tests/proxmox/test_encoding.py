"""What is sent is encoded by Proxmox's own rules (semantics sections 2 and 13), and recorded without its secrets."""

from urllib.parse import parse_qsl, unquote

import pytest
from hypothesis import given
from hypothesis import strategies as st

from comserv.domain.errors import Invalid
from comserv.proxmox.encoding import encode, encode_sshkeys, masked, masked_text, path


def test_an_equals_sign_and_a_semicolon_are_encoded_since_proxmox_would_cut_the_value_there() -> None:
    assert encode({"net0": "virtio,bridge=vmbr0", "tags": "a;b"}) == "net0=virtio%2Cbridge%3Dvmbr0&tags=a%3Bb"


def test_booleans_are_0_and_1_and_what_is_none_is_not_sent() -> None:
    assert encode({"full": True, "start": False, "pool": None, "newid": 105}) == "full=1&start=0&newid=105"


def test_a_space_is_percent_20_since_a_plus_inside_sshkeys_is_refused() -> None:
    assert encode({"description": "a b+c"}) == "description=a%20b%2Bc"
    assert encode_sshkeys("ssh-ed25519 AAAA+/= me@x\n") == "ssh-ed25519%20AAAA%2B%2F%3D%20me%40x%0A"


def test_a_list_repeats_its_key() -> None:
    assert encode({"command": ["ls", "-l"]}) == "command=ls&command=-l"


@given(st.dictionaries(st.from_regex(r"[a-z][a-z0-9-]{0,8}", fullmatch=True), st.text(max_size=30), max_size=4))
def test_every_text_arrives_as_it_was(values: dict[str, str]) -> None:
    text = encode(values)
    assert dict(parse_qsl(text, keep_blank_values=True, encoding="utf-8", errors="surrogatepass")) == values
    assert ";" not in text


@given(st.lists(st.text(min_size=1, max_size=12).filter(lambda part: part not in (".", "..")), min_size=1, max_size=4))
def test_a_segment_never_leaves_its_place_in_the_path(segments: list[str]) -> None:
    parts = path(*segments).removeprefix("/").split("/")
    assert [unquote(part) for part in parts] == segments


@pytest.mark.parametrize("segments", [("nodes", ""), ("nodes", ".."), (".", "x")])
def test_a_segment_that_would_leave_its_place_is_refused(segments: tuple[str, ...]) -> None:
    with pytest.raises(Invalid):
        path(*segments)


def test_secrets_are_masked_by_their_name_and_public_keys_are_not() -> None:
    shown = masked({"cipassword": "hunter2", "sshkeys": "ssh-ed25519", "ciuser": "admin", "purge": True})
    assert shown == {"cipassword": "•••", "sshkeys": "ssh-ed25519", "ciuser": "admin", "purge": "1"}


def test_a_secret_is_masked_wherever_its_value_stands_also_encoded() -> None:
    assert masked({"description": "my password is s3cret/word"}, ["s3cret/word"])["description"].endswith("is •••")
    assert masked_text("got 's3cret%2Fword'", ["s3cret/word"]) == "got '•••'"
    assert masked_text("a short secret masks nothing", ["a"]) == "a short secret masks nothing"
