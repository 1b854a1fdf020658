"""The secret that signs web tokens, and how long they live."""

from __future__ import annotations

import base64
import hmac
import stat
from pathlib import Path

import pytest
from twisted.internet.task import Clock

from aemos import json
from aemos.config.schema import Auth, Settings
from aemos.errors import ConfigurationError, Unauthenticated
from aemos.services.web_tokens import Expired, WebTokens, lifetime, signing_key


def _base64(text: str) -> bytes:
    return base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))


def settings(folder: Path, secret: str = "") -> Settings:
    return Settings(data_dir=str(folder), auth=Auth(jwt_secret=secret))


def test_a_secret_is_made_once_and_kept_for_the_owner_only(tmp_path: Path) -> None:
    folder = tmp_path / "data"
    secret = signing_key(settings(folder))
    assert len(secret) == 64
    assert signing_key(settings(folder)) == secret
    (file,) = folder.iterdir()
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert signing_key(settings(tmp_path / "other")) != secret


def test_the_configured_secret_wins(tmp_path: Path) -> None:
    assert signing_key(settings(tmp_path, "s" * 16)) == "s" * 16
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("secret", ["your-secret-key", "s" * 15])
def test_a_weak_secret_is_refused(tmp_path: Path, secret: str) -> None:
    with pytest.raises(ConfigurationError, match=r"^JWT_SECRET is "):
        signing_key(settings(tmp_path, secret))


def test_a_kept_secret_that_cannot_be_read_is_named(tmp_path: Path) -> None:
    (tmp_path / "jwt-secret").mkdir()
    with pytest.raises(ConfigurationError, match="jwt-secret cannot be used: Is a directory"):
        signing_key(settings(tmp_path))


def test_a_kept_secret_that_was_emptied_is_refused(tmp_path: Path) -> None:
    (tmp_path / "jwt-secret").write_text("\n")
    with pytest.raises(ConfigurationError, match="jwt-secret is empty"):
        signing_key(settings(tmp_path))


@pytest.mark.parametrize("secret", ["s" * 16, "s" * 64, "geheimnisträger-äöü"])
def test_other_libraries_read_the_tokens_whatever_the_length_of_the_secret(secret: str) -> None:
    clock = Clock()
    clock.advance(1_800_000_000)
    tokens = WebTokens(secret, Auth(), clock)
    token = tokens.access(5, "a@x.example", "session", ["area.view"], ["Viewer"])
    signed, _, signature = token.rpartition(".")
    expected = hmac.new(secret.encode(), signed.encode(), "sha256").digest()
    assert _base64(signature) == expected
    header, _, payload = signed.partition(".")
    assert json.decode(_base64(header)) == {"alg": "HS256", "typ": "JWT"}
    assert json.decode(_base64(payload)) == {
        "id": 5,
        "email": "a@x.example",
        "permissions": ["area.view"],
        "roles": ["Viewer"],
        "sid": "session",
        "iat": 1_800_000_000,
        "exp": 1_800_086_400,
    }


def test_tokens_end_by_the_clock_that_was_given() -> None:
    clock = Clock()
    tokens = WebTokens("s" * 32, Auth(jwt_expires_in="30m", refresh_expires_in="1h"), clock)
    access = tokens.access(5, "a@x.example", "session", [], [])
    refresh = tokens.refresh(5, "session")
    clock.advance(1799)
    assert tokens.read_access(access).expires_at == 1_800_000
    clock.advance(1)
    with pytest.raises(Expired, match=r"^Token expired$"):
        tokens.read_access(access)
    assert tokens.read_refresh(refresh).session == "session"
    clock.advance(1800)
    with pytest.raises(Expired, match=r"^Refresh token expired$"):
        tokens.read_refresh(refresh)


def test_the_kinds_of_token_are_not_mixed_up() -> None:
    tokens = WebTokens("s" * 32, Auth(), Clock())
    with pytest.raises(Unauthenticated, match=r"^Invalid token$"):
        tokens.read_access(tokens.refresh(5, "session"))
    with pytest.raises(Unauthenticated, match=r"^Invalid refresh token$"):
        tokens.read_refresh(tokens.access(5, "a@x.example", "session", [], []))


@pytest.mark.parametrize(
    ("text", "seconds"),
    [("60", 60), ("30m", 1800), ("24h", 86400), ("7d", 604800), ("2 w", 1209600)],
)
def test_lifetimes_are_seconds_or_have_a_unit(text: str, seconds: int) -> None:
    assert lifetime(text) == seconds


def test_a_lifetime_that_is_none_is_refused() -> None:
    with pytest.raises(ConfigurationError):
        lifetime("soon")
