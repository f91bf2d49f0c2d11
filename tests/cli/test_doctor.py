import sys

from vultus.cli import doctor


def test_this_machine_is_well(vultus):
    run = vultus("doctor")
    assert run.status == 0, run.out
    for what in (
        "python",
        "torch",
        "opencv",
        "renderer numba",
        "threads",
        "gpu",
        "model vultus",
        "astronaut.jpg",
    ):
        assert what in run.out
    assert "!!" not in run.out


def test_opencv_without_graphics_libraries(vultus, monkeypatch):
    """What a bare server says when opencv-contrib-python overwrote the headless build."""
    import_module = doctor.import_module

    def broken(name):
        if name == "cv2":
            raise ImportError("libGL.so.1: cannot open shared object file: No such file or directory")
        return import_module(name)

    monkeypatch.setattr(doctor, "import_module", broken)
    monkeypatch.setattr(doctor, "_version_of", lambda name: "4.9" if "contrib-python" in name else "")
    finding = doctor._opencv()
    assert finding.state == "broken"
    assert "libGL" in finding.detail
    assert "pip uninstall -y opencv-contrib-python" in finding.remedy
    assert finding.remedy.endswith("pip install opencv-python-headless")
    run = vultus("doctor")
    assert run.status == 2
    assert "1 broken" in run.out


def test_two_opencv_packages_are_told(monkeypatch):
    monkeypatch.setattr(doctor, "_version_of", lambda name: "4.9" if name in doctor._OPENCV[:2] else "")
    finding = doctor._opencv()
    assert finding.state == "optional"
    assert "opencv-python-headless and opencv-python overwrite" in finding.detail


def test_damaged_missing_and_foreign_files(monkeypatch, tmp_path):
    good, changed, foreign = (tmp_path / name for name in ("good.npz", "changed.npz", "foreign.npz"))
    for path in (good, changed, foreign):
        path.write_text(path.name)
    monkeypatch.setattr(doctor, "asset_files", lambda: {path.name: path for path in (good, changed, foreign)})
    expected = {"good.npz": doctor.sha256(good), "changed.npz": "0" * 64, "gone.npz": "1" * 64}
    monkeypatch.setattr(doctor, "expected_sha256", lambda: expected)
    states = {finding.detail.split()[0]: finding.state for finding in doctor._assets()}
    assert states == {
        "good.npz": "good",
        "changed.npz": "broken",
        "foreign.npz": "optional",
        "gone.npz": "broken",
    }


def test_old_python(monkeypatch):
    monkeypatch.setattr(sys, "version_info", (3, 14, 0, "final", 0))
    assert doctor._python().state == "broken"
