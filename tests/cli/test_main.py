"""The command line from outside: help, versions, signals, and what it costs to start."""

import os
import re
import signal
import subprocess
import sys
import time
from dataclasses import asdict
from pathlib import Path

import pytest

import vultus as package
from vultus.cli.assets import LIST, listing
from vultus.cli.doctor import sample_photo
from vultus.stages.options import ReconstructOptions

pytestmark = pytest.mark.slow
ROOT = Path(__file__).parents[2]

SLOW_STAGE = """
import sys, time
from types import ModuleType
sys.path[:0] = {paths!r}

def reconstruct_all(photo, **options):
    from synthetic_model import synthetic_reconstruction
    if photo.stem != "first":
        print("started", file=sys.stderr, flush=True)
        time.sleep(60)
    return (synthetic_reconstruction(texture_size=16),)

fake = ModuleType("vultus.stages.reconstruct")
fake.reconstruct_all = reconstruct_all
import vultus.stages
sys.modules["vultus.stages.reconstruct"] = fake
from vultus.cli.main import main
if __name__ == "__main__":
    sys.exit(main())
"""


@pytest.mark.parametrize(
    "arguments", [("--help",), ("reconstruct", "--help"), ("models", "--help"), ("doctor", "--help")]
)
def test_help_teaches_by_example(vultus, arguments):
    run = vultus(*arguments)
    assert run.status == 0
    assert "Examples:\n  vultus " in run.out


def test_version(vultus):
    assert vultus("--version").out == f"vultus {package.__version__}\n"


def test_unknown_command(vultus):
    assert vultus("reconstrukt").status == 2


def test_unexpected_errors_are_one_line(vultus, monkeypatch):
    monkeypatch.setattr("vultus.cli.models.known_models", lambda: 1 / 0)
    run = vultus("models")
    assert run.status == 2
    assert run.err.startswith("vultus: unexpected ZeroDivisionError")
    assert len(run.err.splitlines()) == 1


@pytest.mark.parametrize("jobs", [1, 2])
@pytest.mark.parametrize(("number", "status"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_signals_end_cleanly_and_keep_what_is_finished(tmp_path, photos, number, status, jobs):
    script = tmp_path / "slow.py"
    script.write_text(SLOW_STAGE.format(paths=[str(ROOT / "tests"), str(ROOT / "src")]))
    out = tmp_path / "out"
    command = [
        sys.executable,
        script,
        "reconstruct",
        *photos("first.jpg", "second.jpg", "third.jpg"),
        "-o",
        out,
        "--jobs",
        str(jobs),
        "--formats",
        "obj",
    ]
    with subprocess.Popen(
        command,
        stderr=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        start_new_session=True,
        # A shell starts background jobs with interrupts ignored, and children inherit that.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
        env={**os.environ, "OMP_NUM_THREADS": "1"},
    ) as process:
        assert process.stderr is not None
        assert "started" in process.stderr.readline()
        for _ in range(300):
            if (out / "first" / "reconstruction.json").exists():
                break
            time.sleep(0.1)
        (os.killpg if number == signal.SIGINT else os.kill)(process.pid, number)
        _, stderr = process.communicate(timeout=30)
    assert process.returncode == status, stderr
    assert "Traceback" not in stderr
    assert "the same command goes on from there" in stderr
    assert [path.name for path in out.iterdir()] == ["first"]


def test_few_public_names():
    assert len(package.__all__) <= 13
    assert package.load_model.__module__ == "vultus.model.catalog"
    assert dir(package) == sorted(package.__all__)
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        _ = package.nothing


def test_importing_vultus_loads_torch_before_numba_and_little_else():
    code = "import sys, vultus; print('torch' in sys.modules, [m for m in ('numba', 'cv2', 'scipy', 'tyro', 'PIL') if m in sys.modules])"
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert result.stdout.strip() == "True []"


def test_python_takes_what_the_command_line_takes():
    """Both hand their options to one dataclass, which checks them before a photo is touched."""
    for function in (package.reconstruct, package.reconstruct_all):
        with pytest.raises(package.VultusError, match="texture-size"):
            function("no such photo.jpg", texture_size=3)
        with pytest.raises(TypeError, match="colour"):
            function("no such photo.jpg", colour="red")
    with pytest.raises(package.VultusError, match="no such file"):
        package.reconstruct_all("no such photo.jpg", **asdict(ReconstructOptions()))


def test_models_table(vultus, monkeypatch, tmp_path):
    monkeypatch.delenv("VULTUS_BFM", raising=False)
    monkeypatch.setenv("VULTUS_ICT", str(tmp_path))
    run = vultus("models")
    assert run.status == 0
    rows = {line.split()[0]: line for line in run.out.splitlines() if not line.startswith(" ")}
    assert re.search(r"^vultus +yes +CC0", rows["vultus"])
    assert re.search(r"^ict +yes +MIT", rows["ict"])
    assert re.search(r"^bfm +no +research", rows["bfm"])
    assert "https://faces.dmi.unibas.ch" in run.out


def test_asset_checksums():
    assert LIST.read_text(encoding="utf-8") == listing(), "changed on purpose? then `make checksums`"


def test_the_sample_photo_is_there():
    assert sample_photo().is_file()
