import json
from pathlib import Path

import pytest

from fogline import cli
from tests.hub_api import HubApi, hub_api
from tests.models import save_identity

__all__ = ["hub_api"]


@pytest.fixture
def shell(hub_api: HubApi, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> HubApi:
    """An operator's shell with FOGLINE_HUB, FOGLINE_TOKEN and FOGLINE_KEYS set."""
    monkeypatch.setenv("FOGLINE_HUB", hub_api.server.url)
    monkeypatch.setenv("FOGLINE_TOKEN", hub_api.token)
    monkeypatch.setenv("FOGLINE_KEYS", str(tmp_path / "hub" / "operator"))
    return hub_api


def test_a_bare_model_is_pushed_as_unverified_and_shown(
    shell: HubApi, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    model = save_identity(tmp_path / "model.onnx")
    assert cli.main(["push", "rain", str(model), "--alias", "champion"]) == 0
    told = capsys.readouterr().out
    assert "rain@1 published" in told
    assert "unverified" in told
    assert cli.main(["models", "list"]) == 0
    assert "champion=1" in capsys.readouterr().out
    assert cli.main(["models", "show", "rain"]) == 0
    assert "rain@champion is 1" in capsys.readouterr().out
    assert cli.main(["models", "show", "rain@champion", "--json"]) == 0
    version = json.loads(capsys.readouterr().out)
    assert (version["number"], version["state"], version["verified"]) == (1, "published", False)
    lineage = [p for p in (tmp_path / "hub" / "blobs").rglob("*") if p.is_file()]
    assert any(b'"verified":false' in p.read_bytes() for p in lineage)


def test_what_is_no_model_is_refused_by_a_child(
    shell: HubApi, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    bad = tmp_path / "bad.onnx"
    bad.write_bytes(b"\x08\x08 nothing of this is a model")
    assert cli.main(["push", "rain", str(bad)]) == 2
    assert "not a model that can be served" in capsys.readouterr().err
    assert cli.main(["push", "rain", str(tmp_path / "none.onnx")]) == 3
    assert cli.main(["push", "bad name", str(bad)]) == 2
    assert cli.main(["push", "rain", str(bad), "--alias", "7"]) == 2


def test_a_model_is_automated_and_taken_back(
    shell: HubApi, capsys: pytest.CaptureFixture[str]
) -> None:
    assert cli.main(["models", "automate", "rain"]) == 0
    assert "retrained versions of: rain" in capsys.readouterr().out
    assert cli.main(["models", "automate", "rain", "--withdraw", "--json"]) == 0
    assert json.loads(capsys.readouterr().out) == {"automated": []}
    assert cli.main(["models", "automate", "rain", "--withdraw"]) == 3
    assert "no right to model" in capsys.readouterr().err


def test_tokens_and_devices_are_listed_without_secrets(
    shell: HubApi, capsys: pytest.CaptureFixture[str]
) -> None:
    assert cli.main(["devices", "token", "--group", "roof", "--uses", "3", "--expires", "2h"]) == 0
    token = capsys.readouterr().out.strip()
    assert token.startswith("fl1.")
    assert cli.main(["devices", "tokens"]) == 0
    listed = capsys.readouterr().out
    assert "3 of 3" in listed
    assert token.split(".")[1] not in listed
    assert cli.main(["devices", "list", "--group", "roof"]) == 0
    assert capsys.readouterr().out.strip() == "(none)"
    assert cli.main(["devices", "show", "nobody"]) == 3
    assert cli.main(["devices", "token", "--group", "roof", "--expires", "soon"]) == 2
    assert "90s, 30m, 12h or 7d" in capsys.readouterr().err


def test_status_and_audit_have_a_json_twin(
    shell: HubApi, capsys: pytest.CaptureFixture[str]
) -> None:
    assert cli.main(["status"]) == 0
    assert "models 0, versions 0" in capsys.readouterr().out
    assert cli.main(["status", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["audit_rows"] == 2
    assert cli.main(["audit", "list"]) == 0
    assert "hub.created" in capsys.readouterr().out
    assert cli.main(["audit", "list", "--after", "1", "--json"]) == 0
    assert [r["seq"] for r in json.loads(capsys.readouterr().out)] == [2]


def test_a_missing_hub_token_or_key_says_what_to_set(
    shell: HubApi,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.delenv("FOGLINE_KEYS")
    assert cli.main(["models", "automate", "rain"]) == 2
    assert "FOGLINE_KEYS" in capsys.readouterr().err
    monkeypatch.delenv("FOGLINE_TOKEN")
    assert cli.main(["status"]) == 2
    assert "--token-file" in capsys.readouterr().err
    token = tmp_path / "hub" / "operator" / "admin.token"
    assert cli.main(["status", "--token-file", str(token)]) == 0
    token.chmod(0o644)
    assert cli.main(["status", "--token-file", str(token)]) == 4
    assert "chmod 600" in capsys.readouterr().err
    monkeypatch.delenv("FOGLINE_HUB")
    assert cli.main(["status", "--token-file", str(token)]) == 2
    assert "FOGLINE_HUB" in capsys.readouterr().err
    monkeypatch.setenv("FOGLINE_TOKEN", "flo1.x")
    for url, code in (("nonsense", 2), ("ftp://x", 2), ("http://127.0.0.1:1", 5)):
        assert cli.main(["status", "--hub", url]) == code
    assert "is it running?" in capsys.readouterr().err


def test_every_command_explains_itself_with_an_example(
    capsys: pytest.CaptureFixture[str],
) -> None:
    for words in (
        ["hub", "init"],
        ["hub", "start"],
        ["push"],
        ["models"],
        ["devices"],
        ["status"],
        ["audit"],
    ):
        with pytest.raises(SystemExit) as ended:
            cli.main([*words, "--help"])
        assert ended.value.code == 0
        assert f"  fogline {' '.join(words)}" in capsys.readouterr().out.split("examples:")[1]
