"""What every operator's command takes: which hub, whose token, whose keys."""

import argparse
import os
from pathlib import Path

from fogline.errors import Forbidden, InvalidInput, NotFound
from fogline_hub.client import HubClient
from fogline_hub.delivery import OperatorKeys, load_operator

MAX_TOKEN_BYTES = 1024


def add_hub_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--hub", metavar="URL", help="the hub's URL (default: FOGLINE_HUB)")
    parser.add_argument(
        "--token-file",
        type=Path,
        metavar="FILE",
        help="0600 file with the operator's token (default: the text in FOGLINE_TOKEN)",
    )


def add_keys_argument(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--keys",
        type=Path,
        metavar="DIR",
        help="the operator's folder of signing keys (default: FOGLINE_KEYS)",
    )


def open_hub(arguments: argparse.Namespace) -> HubClient:
    """A client of the hub that the arguments or the environment name.

    Raises:
        InvalidInput: neither names a hub, or a token.
        NotFound: there is no such token file.
        Forbidden: others can read it.
    """
    url = arguments.hub or os.environ.get("FOGLINE_HUB", "")
    if not url:
        raise InvalidInput("which hub? say --hub URL, or set FOGLINE_HUB")
    return HubClient(url, _token(arguments.token_file))


def open_keys(arguments: argparse.Namespace) -> OperatorKeys:
    """The operator's signing keys.

    Raises:
        InvalidInput: none are named.
        NotFound, Forbidden, Corrupt: see `load_operator`.
    """
    named = arguments.keys or os.environ.get("FOGLINE_KEYS", "")
    if not named:
        raise InvalidInput(
            "this is signed with an operator's key: say --keys DIR, or set FOGLINE_KEYS; "
            "`fogline hub init` made the folder as DIR/operator"
        )
    return load_operator(Path(named))


def _token(file: Path | None) -> str:
    if file is None:
        token = os.environ.get("FOGLINE_TOKEN", "").strip()
        if not token:
            raise InvalidInput(
                "whose token? set FOGLINE_TOKEN, or say --token-file FILE; "
                "`fogline hub init` wrote the first one to DIR/operator/admin.token"
            )
        return token
    try:
        mode = file.stat().st_mode
        data = file.read_bytes()
    except OSError as e:
        raise NotFound(f"token file {file}: {e.strerror}") from e
    if mode & 0o077:
        raise Forbidden(f"{file} holds a secret but is open to others; run: chmod 600 {file}")
    if len(data) > MAX_TOKEN_BYTES:
        raise InvalidInput(f"{file} is longer than {MAX_TOKEN_BYTES} bytes, so it holds no token")
    return data.decode(errors="replace").strip()
