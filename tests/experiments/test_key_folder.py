"""Files with secrets: written whole, for their owner; the rest is tested with the certificates."""

import stat
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from common.errors import UserError
from experiments.authority import new_authority, new_key
from experiments.key_folder import authority_key, open_authority, pem, signed_by, why_renew, write

NOW = datetime(2030, 1, 1, tzinfo=UTC)


def test_a_file_is_written_whole_in_folders_for_its_owner(tmp_path: Path) -> None:
    place = tmp_path / "one" / "two" / "secret"
    write(place, b"first", 0o600)
    write(place, b"second", 0o600)
    assert place.read_bytes() == b"second"
    assert stat.S_IMODE(place.stat().st_mode) == 0o600
    assert stat.S_IMODE((tmp_path / "one").stat().st_mode) == 0o700
    assert [file.name for file in place.parent.iterdir()] == ["secret"]


def test_an_authority_is_made_once_and_signs_what_it_signs(tmp_path: Path) -> None:
    authority, said = open_authority(tmp_path, NOW)
    again, silence = open_authority(tmp_path, NOW)
    assert (again, len(said), silence) == (authority, 1, [])
    assert authority_key(tmp_path, authority, "a's").public_key() == authority.public_key()
    other = new_authority(new_key(), NOW)
    with pytest.raises(UserError, match="is not the key of the authority's certificate"):
        authority_key(tmp_path, other, "a's")
    with pytest.raises(UserError, match="is not signed by this folder's authority"):
        signed_by(other, tmp_path / "authority" / "ca.crt")
    with pytest.raises(UserError, match="expired on"):
        open_authority(tmp_path, NOW + timedelta(days=4000))


def test_a_key_is_written_without_a_password() -> None:
    assert pem(new_key()).startswith(b"-----BEGIN PRIVATE KEY-----")


@pytest.mark.parametrize(("left", "renewed"), [(31, False), (29, True), (0, True), (-1, True)])
def test_a_certificate_is_renewed_in_its_last_month(left: int, renewed: bool) -> None:
    certificate = new_authority(new_key(), NOW)
    why = why_renew(certificate, certificate.not_valid_after_utc - timedelta(days=left))
    assert (why is not None) == renewed
