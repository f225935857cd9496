"""A cascade on real data: nearly as right as the big model, on a fraction of its rows."""

from pathlib import Path

import numpy as np

from examples.pipelines.cascade.build import build
from fogline_edge.serving.pipelines import PipelineRunner, load_pipeline
from tests.pipeline_runners import brought, counts_of, surroundings


def test_a_cascade_of_scaler_small_model_and_forest_answers_almost_as_the_forest(
    tmp_path: Path,
) -> None:
    held = build(tmp_path, trees=120)
    with surroundings() as around:
        served = load_pipeline(
            tmp_path,
            around,
            bring=brought(around.models),
        )
        runner = served.runner
        assert isinstance(runner, PipelineRunner)
        answer = runner.run({"pixels": held.pixels})
        one_by_one = [runner.run({"pixels": row[None]}) for row in held.pixels[:60]]
        models = {
            name: around.models.get_component(f"digits-{name}").runner
            for name in ("scaler", "small", "big")
        }
        scaled = models["scaler"].run({"x": held.pixels})["variable"]
        small, big = (models[name].run({"x": scaled}) for name in ("small", "big"))
        went_on, came = (counts_of(runner, "big").rows, counts_of(runner, "big").offered_rows)
    two = np.sort(small["probabilities"], axis=1)[:, -2:]
    unsure = ~(two[:, 1] - two[:, 0] >= 0.8)
    assert np.array_equal(answer["label"], np.where(unsure, big["label"], small["label"]))
    assert np.array_equal(
        answer["probabilities"],
        np.where(unsure[:, None], big["probabilities"], small["probabilities"]),
    )
    assert [a["label"][0] for a in one_by_one] == answer["label"][:60].tolist()
    assert went_on == unsure.sum() + unsure[:60].sum()
    assert came == len(held.labels) + 60

    def accuracy(labels: object) -> float:
        return float(np.mean(labels == held.labels))

    assert accuracy(small["label"]) < 0.97
    assert accuracy(answer["label"]) > 0.975
    assert accuracy(answer["label"]) >= accuracy(big["label"]) - 0.01
    assert unsure.mean() < 0.45
