"""Reads a `FetchRequest` on stdin, writes a `Result` on stdout; exit code 0 either way."""

import sys

from fogline.errors import InvalidInput
from fogline.records import canonical_json, decode_json
from fogline_edge.install.fetch.messages import MAX_REQUEST_BYTES, FetchRequest
from fogline_edge.install.fetch.work import fetch


def main() -> int:
    """Runs one fetch."""
    data = sys.stdin.buffer.read(MAX_REQUEST_BYTES + 1)
    if len(data) > MAX_REQUEST_BYTES:
        raise InvalidInput(f"a request of over {MAX_REQUEST_BYTES} bytes")
    request = decode_json(data, FetchRequest, "fetch request", fault=InvalidInput)
    sys.stdout.buffer.write(canonical_json(fetch(request)) + b"\n")
    sys.stdout.buffer.flush()
    return 0


if __name__ == "__main__":
    sys.exit(main())
