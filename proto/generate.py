"""Generates Python from every .proto under proto/tanzhang, beside the .proto files.

Uses the protoc inside grpcio-tools and the mypy-protobuf plugins of this environment, so the lock
decides the output to the byte: the generated files are committed and tests/test_tidy.py checks that
they are fresh. Does not lint: that is buf's, see `make lint`.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import sysconfig
import tempfile
from importlib.resources import files
from pathlib import Path

PROTO = Path(__file__).resolve().parent


def generated(folder: Path) -> dict[str, bytes]:
    """Path relative to `folder`, and content, of every generated file under it."""
    return {
        path.relative_to(folder).as_posix(): path.read_bytes()
        for path in (folder / "tanzhang").rglob("*_pb2*")
        if path.suffix in {".py", ".pyi"}
    }


def generate() -> dict[str, bytes]:
    """What the .proto files say, keyed as in `generated`; SystemExit if protoc refuses."""
    scripts = Path(sysconfig.get_path("scripts"))
    with tempfile.TemporaryDirectory() as out:
        command = [
            *(sys.executable, "-m", "grpc_tools.protoc"),
            *(f"--python_out={out}", f"--grpc_python_out={out}"),
            *(f"--mypy_out=quiet:{out}", f"--mypy_grpc_out=quiet:{out}"),
            f"--plugin=protoc-gen-mypy={scripts / 'protoc-gen-mypy'}",
            f"--plugin=protoc-gen-mypy_grpc={scripts / 'protoc-gen-mypy_grpc'}",
            *(f"-I{PROTO}", f"-I{files('grpc_tools') / '_proto'}"),
            *sorted(str(path) for path in PROTO.rglob("tanzhang/**/*.proto")),
        ]
        done = subprocess.run(command, cwd=PROTO, check=False)
        if done.returncode != 0:
            raise SystemExit(done.returncode)
        return generated(Path(out))


def main() -> None:
    """Write, or compare, in place or in another folder; an orphan goes with its .proto."""
    parser = argparse.ArgumentParser(description="generate Python from proto/")
    parser.add_argument("--out", type=Path, default=PROTO, help="folder to write or compare")
    parser.add_argument("--check", action="store_true", help="write nothing, name what is stale")
    arguments = parser.parse_args()
    out: Path = arguments.out.resolve()
    fresh, present = generate(), generated(out)
    stale = sorted(name for name in fresh | present if fresh.get(name) != present.get(name))
    if arguments.check:
        sys.exit("\n".join(["not what protoc makes (run `make proto`):", *stale]) if stale else 0)
    for name in stale:
        if name in fresh:
            (out / name).parent.mkdir(parents=True, exist_ok=True)
            (out / name).write_bytes(fresh[name])
        else:
            (out / name).unlink()


if __name__ == "__main__":
    main()
