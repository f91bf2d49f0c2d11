"""``vultus dataset synthetic`` on the command line."""


def test_heads_are_made_from_the_package_alone(vultus, tmp_path):
    small = ("--heads", 1, "--size-px", 128)
    run = vultus("dataset", "synthetic", "-o", tmp_path / "set", *small)
    assert run.status == 0 and "1 synthetic heads made, 0 were there" in run.out
    assert {
        "photo.png",
        "camera.json",
        "neutral.ply",
        "posed.ply",
        "landmarks.json",
        "mask.png",
        "truth.npz",
    } <= {path.name for path in (tmp_path / "set" / "001").iterdir()}
    assert "0 synthetic heads made, 1 were there" in vultus("dataset", "synthetic", "-o", tmp_path / "set", *small).out  # fmt: skip


def test_wrong_options_end_in_one_line(vultus, tmp_path):
    for wrong, says in (
        (("--heads", 0), "--heads 0"),
        (("--ict", tmp_path / "nowhere"), "no such folder"),
        (("--photos", tmp_path), "no pictures"),
        (("--photos", tmp_path / "nowhere"), "nowhere"),
    ):
        run = vultus("dataset", "synthetic", "-o", tmp_path / "set", *wrong)
        assert run.status == 2 and says in run.err and run.err.count("\n") == 1, run.err
        assert not (tmp_path / "set").exists()
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "a.txt").write_text("x")
    run = vultus("dataset", "synthetic", "-o", tmp_path / "full")
    assert run.status == 2 and "something else than a set of synthetic heads" in run.err
    assert "capture" in vultus("dataset", "--help").out
