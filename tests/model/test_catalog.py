import pytest

from vultus.errors import AssetMissing, BadInput
from vultus.model.catalog import known_models, load_model


@pytest.fixture(autouse=True)
def nothing_installed(monkeypatch):
    monkeypatch.delenv("VULTUS_ICT", raising=False)
    monkeypatch.delenv("VULTUS_BFM", raising=False)


def test_the_bundled_model_is_always_there():
    cards = {card.name: card.installed for card in known_models()}
    assert cards == {"vultus": True, "ict": False, "bfm": False}


@pytest.mark.parametrize(("name", "where"), [("ict", "github.com/ICT-VGL"), ("bfm", "faces.dmi.unibas.ch")])
def test_a_missing_model_says_where_to_ask_for_it(name, where, monkeypatch, tmp_path):
    with pytest.raises(AssetMissing, match=where):
        load_model(name)
    with pytest.raises(AssetMissing, match=f"{tmp_path}/none: no such file.*{where}"):
        load_model(f"{name}:{tmp_path}/none")
    monkeypatch.setenv(f"VULTUS_{name.upper()}", str(tmp_path / "nor"))
    with pytest.raises(AssetMissing, match=f"nor: no such file or folder .from VULTUS_{name.upper()}"):
        load_model(name)


def test_a_path_is_found_by_environment_or_name(monkeypatch, tmp_path):
    monkeypatch.setenv("VULTUS_ICT", str(tmp_path))
    card = next(card for card in known_models() if card.name == "ict")
    assert card.installed
    assert card.path == tmp_path


def test_unknown_names():
    with pytest.raises(BadInput, match=r"no face model is called 'flame'.*vultus, ict, bfm"):
        load_model("flame")
    with pytest.raises(BadInput, match="takes no path"):
        load_model("vultus:/here")


def test_one_name_one_object():
    assert load_model("vultus") is load_model("VULTUS")
