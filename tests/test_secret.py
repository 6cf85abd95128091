"""Secrets: where they are read from, and that they are never shown."""

import json
from pathlib import Path
from typing import Any

import pytest
from pydantic import BaseModel, ConfigDict, ValidationError

from receiver import Secret


class Holder(BaseModel):
    model_config = ConfigDict(hide_input_in_errors=True)

    token: Secret


def read(given: Any, *, folder: Path | None = None, secrets: bool = True) -> Secret:
    return Holder.model_validate({"token": given}, context={"secrets": secrets, "folder": folder}).token


def test_a_string_is_the_secret_itself() -> None:
    assert read("open sesame") == "open sesame"


def test_a_files_trailing_white_space_is_dropped(tmp_path: Path) -> None:
    (tmp_path / "token").write_text(" open sesame \n\n")
    assert read({"file": "token"}, folder=tmp_path) == " open sesame"


def test_an_environment_variable_is_read(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OUR_TOKEN", "open sesame")
    assert read({"env": "OUR_TOKEN"}) == "open sesame"


def test_a_credential_is_a_file_in_systemds_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "crm").write_text("open sesame\n")
    monkeypatch.setenv("CREDENTIALS_DIRECTORY", str(tmp_path))
    assert read({"credential": "crm"}) == "open sesame"


def test_without_systemd_a_credential_says_what_is_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("CREDENTIALS_DIRECTORY", raising=False)
    with pytest.raises(ValidationError, match="LoadCredential"):
        read({"credential": "crm"})


def test_nothing_is_read_unless_secrets_are_asked_for(tmp_path: Path) -> None:
    assert read({"file": "there is none"}, folder=tmp_path, secrets=False) == ""


@pytest.mark.parametrize("given", [5, {}, {"file": "a", "env": "b"}, {"file": ""}, {"fiel": "a"}, ["a"]])
def test_what_is_no_secret_is_refused_even_where_none_is_read(given: Any) -> None:
    with pytest.raises(ValidationError, match="expected a string"):
        read(given, secrets=False)


@pytest.mark.parametrize("content", [b"", b" \n", b"\xff\xfe"])
def test_a_file_without_a_text_is_a_fault_that_names_the_file(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "token").write_bytes(content)
    with pytest.raises(ValidationError, match=str(tmp_path / "token")):
        read({"file": "token"}, folder=tmp_path)


def test_a_secret_is_not_in_its_repr_nor_in_its_models() -> None:
    holder = Holder.model_validate({"token": "open sesame"}, context={"secrets": True})
    assert "sesame" not in repr(holder.token)
    assert "sesame" not in repr(holder)
    assert json.loads(holder.model_dump_json()) == {"token": "***"}
