import email.utils
import os
import stat
import time
from pathlib import Path

import httpx
import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.asymmetric.rsa import generate_private_key
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from flwr.supercore.inflatable.inflatable_utils import ObjectPullError, ObjectPushError

from clients.connection import LostError, connect, load_key, own_key, told
from common.errors import UserError


def failed(status: int, clock: float, text: str = '{"message": "no"}') -> httpx.HTTPStatusError:
    """An answer from a server whose clock differs from ours by so many seconds."""
    request = httpx.Request("POST", "http://127.0.0.1/v1/fleet/pull-messages")
    date = email.utils.formatdate(time.time() + clock, usegmt=True)
    return httpx.HTTPStatusError(
        "", request=request, response=httpx.Response(status, headers={"date": date}, text=text, request=request)
    )


def test_a_key_is_made_once_and_nobody_else_can_read_it(tmp_path: Path) -> None:
    first, second = own_key(tmp_path / "node.key"), own_key(tmp_path / "node.key")
    assert first.private_numbers() == second.private_numbers()
    assert (tmp_path / "node.key").stat().st_mode & 0o077 == 0


def test_a_new_key_is_never_readable_by_others(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    modes, replace = [], os.replace

    def watched(old: str, new: Path) -> None:
        replace(old, new)
        modes.append(stat.S_IMODE(new.stat().st_mode))

    monkeypatch.setattr(os, "replace", watched)
    own_key(tmp_path / "node.key")
    assert modes == [0o600]


def test_a_file_without_a_key_is_one_sentence(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"missing\.key holds no private key of a node .* `psreval certificates`"):
        load_key(tmp_path / "missing.key")
    (tmp_path / "text").write_text("not a key")
    with pytest.raises(UserError, match="holds no private key"):
        load_key(tmp_path / "text")


@pytest.mark.parametrize("key", [Ed25519PrivateKey.generate(), generate_private_key(65537, 2048)])
def test_a_key_of_another_kind_is_one_sentence(tmp_path: Path, key: Ed25519PrivateKey) -> None:
    (tmp_path / "key").write_bytes(key.private_bytes(Encoding.PEM, PrivateFormat.OpenSSH, NoEncryption()))
    with pytest.raises(UserError, match="a key of another kind"):
        load_key(tmp_path / "key")


def test_a_server_that_is_not_there_is_lost_not_fatal(tmp_path: Path) -> None:
    with pytest.raises(LostError, match="cannot be reached"), connect("127.0.0.1:9", own_key(tmp_path / "k"), None):
        pass


@pytest.mark.parametrize(("ahead", "word"), [(3600, "ahead of"), (-3600, "behind")])
def test_a_wrong_clock_is_told_as_such(ahead: float, word: str) -> None:
    with pytest.raises(UserError, match=f"clock is 3[56][0-9][0-9] s {word} the server's"), told():
        raise failed(401, -ahead)


@pytest.mark.parametrize("error", [ObjectPullError("part", "gone"), ObjectPushError("part", 1, "session")])
def test_parts_that_the_server_wants_no_more_are_lost_not_fatal(error: Exception) -> None:
    with pytest.raises(LostError, match="has gone on without this node"), told():
        raise error


def test_a_right_clock_and_a_refusal_is_lost() -> None:
    with pytest.raises(LostError, match="answered 401 no"), told():
        raise failed(401, 0)


@pytest.mark.parametrize("text", ["", "<html>", "[1]", "null"])
def test_whatever_the_server_says_is_no_crash(text: str) -> None:
    with pytest.raises(LostError, match="answered 503"), told():
        raise failed(503, 0, text)


def test_every_failed_request_is_lost_not_fatal() -> None:
    kinds = [httpx.RequestError]
    while kinds:
        kind = kinds.pop()
        kinds += kind.__subclasses__()
        with pytest.raises(LostError), told():
            raise kind("broken", request=None)


def test_an_answer_that_is_not_packed_as_it_says_is_lost_not_fatal() -> None:
    def packed(request: httpx.Request) -> httpx.Response:
        return httpx.Response(200, headers={"content-encoding": "gzip"}, stream=httpx.ByteStream(b"not gzip"))

    client = httpx.Client(transport=httpx.MockTransport(packed))
    with client, pytest.raises(LostError, match="cannot be used"), told():
        client.get("http://127.0.0.1/")


def test_a_certificate_that_cannot_be_trusted_ends_the_attempts() -> None:
    text = "[SSL: CERTIFICATE_VERIFY_FAILED] certificate verify failed: certificate has expired (_ssl.c:1006)"
    with pytest.raises(UserError, match=r"cannot be trusted \(certificate has expired .*ca\.crt"), told():
        raise httpx.ConnectError(text)
