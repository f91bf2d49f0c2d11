"""The figure of an evaluation: heat where the errors are, curves, and early refusal."""

import numpy as np
import pytest

from vultus.errors import BadInput
from vultus.evaluate.benchmark import Evaluation, ItemScore
from vultus.evaluate.regions import REGIONS, mean_face, region_of_vertex
from vultus.evaluate.summary import curve
from vultus.viewer.evaluation_figure import check_figure, heat_map, heat_picture, write_figure

pytest.importorskip("matplotlib")


def scored(error_of_vertex):
    ids = np.flatnonzero(region_of_vertex() >= 0)
    samples = {"distance_mm": error_of_vertex[ids], "head_vertex": ids.astype(np.float32)}
    score = ItemScore("a", "a", values={"x": 1.0}, samples=samples)
    return Evaluation("scan", "m", (), (curve("all", samples["distance_mm"], "mm"),), (score,))


def test_heat_is_where_the_errors_are():
    error = np.ones(len(mean_face().vertices))
    nose = region_of_vertex() == REGIONS.index("nose")
    error[nose] = 3.0
    found = heat_map(scored(error))
    tip = int(np.linalg.norm(mean_face().vertices - mean_face().seven[4], axis=1).argmin())
    assert found[tip] == pytest.approx(3, abs=0.05)
    cheek = region_of_vertex() == REGIONS.index("cheeks")
    assert np.nanmedian(found[cheek]) == pytest.approx(1, abs=0.05)
    assert np.isnan(found[region_of_vertex() < 0]).all()
    picture = heat_picture(found, 3.0)
    red = (picture[0] > picture[1] + 0.3).float().mean()
    assert 0.003 < float(red) < 0.1


def test_figures_are_written_whole(tmp_path):
    result = scored(np.ones(len(mean_face().vertices)))
    for name in ("a.png", "a.pdf"):
        write_figure(tmp_path / name, (result, result))
        assert (tmp_path / name).stat().st_size > 10_000
    assert len(list(tmp_path.iterdir())) == 2


def test_what_cannot_be_drawn_is_said(tmp_path):
    with pytest.raises(BadInput, match=r"\.png"):
        check_figure(tmp_path / "a.jpg")
    with pytest.raises(BadInput, match="nothing to draw"):
        write_figure(tmp_path / "a.png", (Evaluation("scan", "m", (), (), ()),))
