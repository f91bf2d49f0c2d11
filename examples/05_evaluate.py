"""Measure a method of your own beside ours: here, photos drawn again.

python examples/05_evaluate.py [PHOTO|FOLDER] [OUT]

The same five lines run every benchmark of docs/evaluate.md: open it, and let any function from an item to a prediction through it.
"""

import json
import sys
from pathlib import Path

import torch

from vultus.evaluate.benchmark import Prediction, evaluation, run_item
from vultus.evaluate.photo import open_photo
from vultus.evaluate.summary import document, text
from vultus.io.images import read_image
from vultus.methods.vultus import Vultus

ROOT = Path(__file__).parents[1]
photos, out = sys.argv[1:] or [ROOT / "src/vultus/assets/astronaut.jpg", "out"]


def washed_out(item):
    """A poor method: the photo itself, half as bright, everywhere."""
    image, _ = read_image(item.photo)
    return Prediction(image=0.5 * image, drawn=torch.ones_like(image[0], dtype=torch.bool))


benchmark = open_photo(Path(photos))
for name, method in {"vultus": Vultus("coarse", colour="model"), "washed out": washed_out}.items():
    result = evaluation(benchmark, name, [run_item(benchmark, method, item) for item in benchmark.items])
    print(text(result), "\n")
    file = Path(out) / f"{name}.json"
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(json.dumps(document(result), indent=1))
