"""`make protos`: writes `src/fogline/wire/*_pb2.py` and their type stubs from `protos/*.proto`.

The generated modules are protoc's own, with one change: they register in Fogline's private
descriptor pool (`fogline.wire.pool`) and not in protobuf's default one, because two packages named
`inference` in one pool make a process that also imports another client of the protocol fail.
"""

import re
import subprocess
import sys
from pathlib import Path

PROTOS = Path(__file__).parent
WIRE = PROTOS.parent / "src" / "fogline" / "wire"
_DEFAULT_POOL = "_descriptor_pool.Default()"


def main() -> None:
    names = sorted(p.name for p in PROTOS.glob("*.proto"))
    command = [sys.executable, "-m", "grpc_tools.protoc", f"-I{PROTOS}"]
    subprocess.run([*command, f"--python_out={WIRE}", f"--pyi_out={WIRE}", *names], check=True)
    for path in sorted(WIRE.glob("*_pb2.py")):
        text = path.read_text()
        if text.count(_DEFAULT_POOL) != 1:
            raise SystemExit(f"{path}: expected exactly one use of the default pool")
        text = text.replace(_DEFAULT_POOL, "_pool.POOL")
        text = text.replace(
            "from google.protobuf import descriptor_pool as _descriptor_pool",
            "from fogline.wire import pool as _pool",
        )
        # protoc writes imports between generated modules as if they were top-level.
        text = re.sub(r"^import (\w+_pb2) as", r"from fogline.wire import \1 as", text, flags=re.M)
        path.write_text(text)
    for path in sorted(WIRE.glob("*_pb2.pyi")):
        text = path.read_text()
        path.write_text(
            re.sub(r"^import (\w+_pb2) as", r"from fogline.wire import \1 as", text, flags=re.M)
        )


if __name__ == "__main__":
    main()
