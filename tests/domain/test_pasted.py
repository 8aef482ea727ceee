"""Tokens and addresses are read as people paste them; what is missing is said in words."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from comserv.domain.errors import Invalid
from comserv.domain.pastedtoken import read_pasted, read_token
from comserv.domain.server import parse_address, parse_addresses, parse_fingerprint, parse_token_id

ID, VALUE = "comserv@pve!manager", "5f0c9d2e-0c8e-4c0e-9b37-2b1e0c6a4c11"
LINE = f"{ID}={VALUE}"
PIN = ":".join(["7C", "1E", "95", "0A"] * 8)
OTHER = "00000000-0000-4000-8000-000000000000"


def table(token_id: str = ID, value: str = VALUE) -> str:
    """As `pveum user token add` prints it on a terminal."""
    rows = [("key", "value"), ("full-tokenid", token_id), ("info", '{"privsep":"1"}'), ("value", value)]
    wide = max(len(cell) for _, cell in rows)
    body = [f"│ {key:<12} │ {cell:<{wide}} │" for key, cell in rows]
    line = "─" * 14, "─" * (wide + 2)
    rule = f"├{line[0]}┼{line[1]}┤"
    top, bottom = f"┌{line[0]}┬{line[1]}┐", f"└{line[0]}┴{line[1]}┘"
    return "\n".join([top, body[0], f"╞{'═' * 14}╪{'═' * (wide + 2)}╡", f"\n{rule}\n".join(body[1:]), bottom])


NARROW = """┌──────────────┬────────────────────────┐
│ key          │ value                  │
╞══════════════╪════════════════════════╡
│ full-tokenid │ comserv@pve!manager    │
├──────────────┼────────────────────────┤
│ info         │ {"privsep":"1"}        │
├──────────────┼────────────────────────┤
│ value        │ 5f0c9d2e-0c8e-4c0e-9b3 │
│              │ 7-2b1e0c6a4c11         │
└──────────────┴────────────────────────┘"""
ASCII = f"+--------------+------+\n| full-tokenid | {ID} |\n+------+\n| value | {VALUE} |\n+------+"


@pytest.mark.parametrize(
    "text",
    [
        LINE,
        f"PVEAPIToken={LINE}",
        f"Authorization: PVEAPIToken={LINE}",
        f"-H 'Authorization: PVEAPIToken={LINE}'",
        f'curl -k -H "Authorization: PVEAPIToken={LINE}" https://pve1:8006/api2/json/version',
        f"PVEAPIToken {ID} {VALUE}",
        f"PVEAPIToken={ID}:{VALUE}",
        f"  {LINE} \r\n",
        f'"{LINE}"',
        f"{ID}\t{VALUE}",
        f"{VALUE}\n{ID}",
        f"{ID}={VALUE.upper()}",
        f"PROXMOX_TOKEN_ID={ID}\nPROXMOX_TOKEN_SECRET={VALUE}",
        f"api_token: '{LINE}'",
        f"{ID}\u200b=\ufeff{VALUE}",
        table(),
        f"root@pve1:~# pveum user token add comserv@pve manager --privsep 1\n{table()}\nroot@pve1:~# ",
        f"\x1b[1m{table()}\x1b[0m",
        NARROW,
        ASCII,
        json.dumps({"full-tokenid": ID, "info": {"privsep": "1"}, "value": VALUE}),
        json.dumps({"data": {"full-tokenid": ID, "info": {"comment": OTHER}, "value": VALUE}}, indent=2),
        f"comment: {OTHER}\n{ID}\nvalue: {VALUE}",
    ],
)
def test_a_token_is_read_from_whatever_holds_it(text: str) -> None:
    pasted = read_pasted(text)
    assert (str(pasted.token_id), pasted.value) == (ID, VALUE)
    assert ID in pasted.words and VALUE not in pasted.words
    assert read_token(text) == (parse_token_id(ID), VALUE)
    assert read_token("", text) == (parse_token_id(ID), VALUE)


@pytest.mark.parametrize(
    ("token_id", "value"),
    [(ID, VALUE), (VALUE, ID), (LINE, ""), ("", LINE), (LINE, VALUE), (f" {ID} ", f"'{VALUE}'\r\n"), (f"{ID}=", VALUE)],
)
def test_two_fields_may_be_exchanged_or_hold_too_much(token_id: str, value: str) -> None:
    assert read_token(token_id, value) == (parse_token_id(ID), VALUE)


@pytest.mark.parametrize(
    ("token_id", "value", "field", "word"),
    [
        ("root@pam", VALUE, "token_id", "pveum user token add root@pam manager"),
        ("comserv@pve", VALUE, "token_id", "comserv@pve!manager"),
        ("manager", VALUE, "token_id", "realm is missing"),
        ("comserv!manager", VALUE, "token_id", "realm is missing"),
        ("comserv@pve!", VALUE, "token_id", "name is missing after !"),
        (VALUE, "", "token_id", "this is the value"),
        ("", VALUE, "token_id", "comserv@pve!manager"),
        (ID, "", "token_secret", "UUID"),
        (ID, "hunter2", "token_secret", "UUID"),
        (ID, VALUE[:-3], "token_secret", "cut off"),
        (ID, VALUE + "a", "token_secret", "cut off"),
        ("pveum user token add comserv@pve manager --privsep 1", "", "token_id", "run it on the server"),
        ("PVE:root@pam:66A1B2C3::c2lnbmF0dXJl", "", "token_id", "ticket"),
        (f"PBSAPIToken=backup@pbs!c:{VALUE}", "", "token_id", "Backup Server"),
        (f"{ID}\nother@pve!one", VALUE, "token_id", "several tokens"),
        (ID, f"{VALUE} {OTHER}", "token_secret", "several values"),
        ("co mserv@pve!m", VALUE, "token_id", "does not allow"),
    ],
)
def test_what_is_missing_is_said(token_id: str, value: str, field: str, word: str) -> None:
    with pytest.raises(Invalid) as refused:
        read_token(token_id, value)
    assert word in refused.value.fields.get(field, ""), refused.value.fields
    assert VALUE not in str(refused.value)


def test_a_value_that_stays_as_it_is_need_not_be_given() -> None:
    assert read_token(ID, "", value_needed=False) == (parse_token_id(ID), "")
    with pytest.raises(Invalid):
        read_token(ID, "half", value_needed=False)


WORD = st.from_regex(r"[A-Za-z][A-Za-z0-9._-]{0,12}[A-Za-z0-9]", fullmatch=True)
PLACES = (
    "{id}={value}", "PVEAPIToken={id}={value}", "Authorization: PVEAPIToken={id}={value}", "{value}\n{id}", "'{id}' \"{value}\"",
    '{{"full-tokenid":"{id}","value":"{value}"}}', "{id}\r\n{value}\r\n",
)  # fmt: skip


@given(WORD, WORD, WORD, st.uuids(), st.sampled_from(PLACES))
def test_every_token_is_read_from_every_form(user: str, realm: str, name: str, value: object, form: str) -> None:
    token_id = f"{user}@{realm}!{name}"
    assert read_token(form.format(id=token_id, value=value)) == (parse_token_id(token_id), str(value))
    assert read_token(table(token_id, str(value))) == (parse_token_id(token_id), str(value))


@given(st.text(max_size=300), st.text(max_size=80))
def test_any_text_is_read_or_refused_in_words(token_id: str, value: str) -> None:
    try:
        read_token(token_id, value)
    except Invalid as refused:
        assert refused.fields and all(refused.fields.values())


@pytest.mark.parametrize(
    ("text", "address"),
    [
        ("https://pve1:8006/#v1:0:18:4:::::::", "https://pve1:8006"),
        ("https://pve1.example.org:8006/api2/json", "https://pve1.example.org:8006"),
        ("https://pve1.example.org/", "https://pve1.example.org:8006"),
        ("http://pve1:8006/", "https://pve1:8006"),
        ("HTTPS://PVE1", "https://pve1:8006"),
        ("https:/pve1", "https://pve1:8006"),
        ("https//pve1", "https://pve1:8006"),
        ("//pve1:8006", "https://pve1:8006"),
        ("'pve1'", "https://pve1:8006"),
        ("<https://pve1:8006>,", "https://pve1:8006"),
        (" pve1\r\n", "https://pve1:8006"),
        ("root@pve1", "https://pve1:8006"),
        ("pve1:443", "https://pve1:443"),
        ("fd00::1", "https://[fd00::1]:8006"),
        ("[fd00::1]", "https://[fd00::1]:8006"),
        ("[FD00::1]:443", "https://[fd00::1]:443"),
        ("https://[fd00::1]:8006/", "https://[fd00::1]:8006"),
        ("192.0.2.7:8006?x=1", "https://192.0.2.7:8006"),
    ],
)
def test_an_address_is_read_as_it_is_copied(text: str, address: str) -> None:
    assert parse_address(text) == address == parse_address(address)


@pytest.mark.parametrize(
    ("text", "word"),
    [
        ("ssh://pve1", "over https"),
        ("https://root:secret@pve1", "leave the user"),
        ("pve1:abc", "not a number"),
        ("pve1:99999", "not a number"),
        ("fd00::1/64", "[ and ]"),
        ("pve 1", "no address"),
        ("", "no address"),
    ],
)
def test_what_is_no_address_is_said(text: str, word: str) -> None:
    with pytest.raises(Invalid) as refused:
        parse_address(text)
    assert word in refused.value.fields["addresses"]


@given(st.text(max_size=120))
def test_any_text_is_an_address_or_refused(text: str) -> None:
    try:
        address = parse_address(text)
    except Invalid as refused:
        assert refused.fields
    else:
        assert parse_address(address) == address


@given(st.ip_addresses(v=6))
def test_ipv6_needs_no_brackets(address: object) -> None:
    assert parse_address(str(address)) == parse_address(f"[{address}]:8006")


def test_several_addresses_are_apart_by_anything() -> None:
    assert parse_addresses("pve1, pve2;pve3\npve1") == ("https://pve1:8006", "https://pve2:8006", "https://pve3:8006")


@pytest.mark.parametrize(
    "text",
    [
        PIN,
        PIN.lower(),
        PIN.replace(":", ""),
        PIN.replace(":", " "),
        f"sha256 Fingerprint={PIN}",
        f"SHA256 Fingerprint={PIN}\n",
        f"sha256:{PIN.replace(':', '')}",
        f"│ fingerprint │ {PIN} │",
        f" {PIN} ",
    ],
)
def test_a_fingerprint_is_read_as_it_is_copied(text: str) -> None:
    assert parse_fingerprint(text) == PIN


@pytest.mark.parametrize(("text", "word"), [(PIN[:-6], "32 bytes"), (PIN[:59], "SHA-1"), ("", "32 bytes")])
def test_what_is_no_fingerprint_is_said(text: str, word: str) -> None:
    with pytest.raises(Invalid) as refused:
        parse_fingerprint(text)
    assert word in refused.value.fields["tls.fingerprint"]
