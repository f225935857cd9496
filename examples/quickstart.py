"""Makes what the README's first commands need: `python -m examples.quickstart FOLDER`.

`rain.joblib` and `rain.onnx`, a model of the weather's first five years; `before.parquet`, what it
was trained on; and `after.parquet`, five years three decades later.
"""

import sys
from pathlib import Path

import joblib
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from skl2onnx import to_onnx
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from examples.rainfall.weather import TARGET, Weather, read_weather
from fogline.clock import SystemClock

SEASONS = 5
LATER_SEASON = 36


def main(folder: Path) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    weather = read_weather(SystemClock().now())
    before = range(weather.day_of_season(SEASONS))
    after = range(
        weather.day_of_season(LATER_SEASON), weather.day_of_season(LATER_SEASON + SEASONS)
    )
    readings = weather.readings[before.start : before.stop].astype(np.float32)
    model = make_pipeline(StandardScaler(), LogisticRegression())
    model.fit(readings, weather.rain[before.start : before.stop])
    onnx = to_onnx(model, readings[:1], options={"zipmap": False})
    joblib.dump(model, folder / "rain.joblib")
    (folder / "rain.onnx").write_bytes(onnx.SerializeToString())
    write_days(folder / "before.parquet", weather, before)
    write_days(folder / "after.parquet", weather, after)
    print(f"made rain.joblib, rain.onnx, before.parquet and after.parquet in {folder}")


def write_days(path: Path, weather: Weather, days: range) -> None:
    """Readings, `rain` and `time` of a range of days."""
    chosen = slice(days.start, days.stop)
    columns = {name: weather.readings[chosen, i] for i, name in enumerate(weather.columns)}
    times = {"time": [weather.time(day) for day in days]}
    pq.write_table(pa.table({**columns, TARGET: weather.rain[chosen], **times}), path)


if __name__ == "__main__":
    main(Path(sys.argv[1]) if len(sys.argv) > 1 else Path("quickstart"))
