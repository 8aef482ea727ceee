"""SSH public keys as people paste them; private ones are known at sight."""

import base64

import pytest

from comserv.domain.errors import Invalid
from comserv.domain.sshkey import PRIVATE_FAULT, read_ssh_key, read_ssh_keys
from comserv.domain.useragent import device_of

ED25519 = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIOMqqnkVzrm0SdG6UOoqKLsabgH5C9okWi0dh2l9GKJl mara@desk"


def _blob(*parts: bytes) -> str:
    return base64.b64encode(b"".join(len(part).to_bytes(4, "big") + part for part in parts)).decode()


def _rsa(bits: int) -> str:
    return f"ssh-rsa {_blob(b'ssh-rsa', bytes([1, 0, 1]), (1 << bits - 1).to_bytes(bits // 8 + 1, 'big'))}"


def _fault(text: str) -> str:
    with pytest.raises(Invalid) as refused:
        read_ssh_keys(text)
    return refused.value.fields["key"]


def test_a_key_tells_its_type_its_length_its_fingerprint_and_its_name() -> None:
    key = read_ssh_key(ED25519)
    assert (key.type, key.bits, key.name, key.text) == ("ssh-ed25519", 256, "mara@desk", ED25519)
    assert key.fingerprint.startswith("SHA256:") and len(key.fingerprint) == 50
    assert read_ssh_key(_rsa(3072)).bits == 3072
    assert read_ssh_key(f"{ED25519}  and\tmore \x1b[31m").name == "mara@desk and more [31m"


RSA = (
    "ssh-rsa AAAAB3NzaC1yc2EAAAADAQABAAABAQCeBINBsNX0mJYoAsq6hkjP4IahZjacl3W/YZLdK4NNeX6pDvU2yVIOaqHEfWvTSfzjgjKS9+"
    "Bb/PWjZ/+3Q+wfyDMzPsY7ku8Xj5XbUMnLutmV9XdWsuTW3ZMT8oshU4j+M1qPeZB2L29BiyCyhH080GJ1I1gwnY3jwv0Fgnn1ht1tQlfXgKac"
    "Czge4IDvRVvtRIVR6ZcIK7K0YF0coevEc0CXXisZvneYx9GpAqMeY3sh1G6a+kV0cz83xn25y2+o8ptGZ/C0F+ziMvt+0lwFUwmPegVCc7oW7/"
    "+kuVjRLzgCV1BGjEAjl9MOqXqoR52WOYeWv4pT+6mk+BBD5/on me"
)
ECDSA = (
    "ecdsa-sha2-nistp521 AAAAE2VjZHNhLXNoYTItbmlzdHA1MjEAAAAIbmlzdHA1MjEAAACFBAFZMkkAfgyk7ZQ5jjmPWoEPZb6Dtx/lzYShqm"
    "eJ2N41W0AGoENtZv+wtkDccsT5FhucRn/QrPxFyNjMmh/RmXM42AGK8W8UoMWK9kbcO08DiW/3kfcuWQu3kBUZxoyjnxjDPu8Xi6F8ZoFI3Lxx"
    "j/+oqgyXHP4H6cm9tQDObeI/1CO7SA== me"
)


@pytest.mark.parametrize(
    ("line", "bits", "fingerprint"),
    [
        (ED25519, 256, "SHA256:+DiY3wvvV6TuJJhbpZisF/zLDA0zPMSvHdkr4UvCOqU"),
        (RSA, 2048, "SHA256:V/Zgfs0uu26IU3bljDuGQAaRHMbw48gs6SHftZ9ZGyQ"),
        (ECDSA, 521, "SHA256:cittNULMZeQNCe+09BGWIudCwvztgjZfQZzTItrq3Do"),
    ],
    ids=["ed25519", "rsa", "ecdsa"],
)
def test_length_and_fingerprint_are_what_ssh_keygen_says(line: str, bits: int, fingerprint: str) -> None:
    key = read_ssh_key(line)
    assert (key.bits, key.fingerprint) == (bits, fingerprint)


def test_a_private_key_is_known_at_sight_and_never_repeated() -> None:
    body = "b3BlbnNzaC1rZXktdjEAAAAABG5vbmU"
    for text in (
        f"-----BEGIN OPENSSH PRIVATE KEY-----\n{body}\n-----END OPENSSH PRIVATE KEY-----",
        "-----BEGIN RSA PRIVATE KEY-----\nMIIE",
        "PuTTY-User-Key-File-3: ssh-ed25519\nEncryption: none",
        body,
        f"{ED25519}\n{body}",
    ):
        said = _fault(text)
        assert said == PRIVATE_FAULT and body not in said


@pytest.mark.parametrize(
    ("text", "word"),
    [
        ("", "Paste"),
        ("# only a comment\n", "Paste"),
        ("hello", "begins with its type"),
        ("ssh-ed25519 AAAA!", "not complete"),
        (ED25519.replace("KJl", ""), "not complete"),
        (f"ssh-rsa {ED25519.split()[1]}", "not a key of the type"),
        (f"ssh-ed25519 {_blob(b'ssh-ed25519')}", "not complete"),
        (_rsa(1024), "too short"),
        (f"ssh-dss {_blob(b'ssh-dss', b'p', b'q', b'g', b'y')}", "DSA"),
        (f"ssh-ed25519 {_blob(b'ssh-ed25519', b'x' * 32)[:-6]}", "not complete"),
    ],
)
def test_what_is_no_key_is_refused_in_words(text: str, word: str) -> None:
    assert word in _fault(text)


def test_the_same_key_twice_is_one() -> None:
    assert len(read_ssh_keys(f"{ED25519}\n\n# and\n{ED25519} again\n{_rsa(2048)} other")) == 2


WEBKIT = "AppleWebKit/537.36 (KHTML, like Gecko)"


@pytest.mark.parametrize(
    ("said", "device"),
    [
        ("Mozilla/5.0 (X11; Linux x86_64; rv:140.0) Gecko/20100101 Firefox/140.0", "Firefox 140 on Linux"),
        (f"Mozilla/5.0 (Windows NT 10.0) {WEBKIT} Chrome/141.0.0.0 Safari/537.36 Edg/141.0", "Edge 141 on Windows"),
        (
            f"Mozilla/5.0 (iPhone; CPU iPhone OS 18_0 like Mac OS X) {WEBKIT} Version/18.0 Safari/604",
            "Safari 18 on iPhone",
        ),
        (f"Mozilla/5.0 (Linux; Android 15) {WEBKIT} Chrome/141.0.0.0 Mobile Safari/537.36", "Chrome 141 on Android"),
        ("Mozilla/5.0 (Macintosh; Intel Mac OS X 10_15_7) AppleWebKit/605.1.15", "A browser on macOS"),
        ("curl/8.9.1", "curl/8.9.1"),
        ("A sign-in link", "A sign-in link"),
        ("", "An unknown program"),
    ],
)
def test_a_browser_is_told_in_words(said: str, device: str) -> None:
    assert device_of(said) == device
