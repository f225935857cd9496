"""PyTorch's programs and modules: converted they answer as before, or they are refused."""

from contextlib import closing
from pathlib import Path
from typing import Any

import numpy as np
import pytest

torch = pytest.importorskip("torch")

from fogline.errors import Corrupt, InvalidInput, Unsupported  # noqa: E402
from fogline.runtime import ModelPlan, Session  # noqa: E402
from tests.networks import convert_here, differing, digits, save_arrays  # noqa: E402

DIM = torch.export.Dim


def _trained(module: Any, rows: Any, target: Any, rounds: int = 30) -> Any:
    optimizer = torch.optim.Adam(module.parameters(), 1e-2)
    for _ in range(rounds):
        optimizer.zero_grad()
        torch.nn.functional.cross_entropy(module(rows), target).backward()
        optimizer.step()
    return module


def _saved(path: Path, module: Any, *args: Any, shapes: Any) -> Path:
    torch.export.save(torch.export.export(module, args, dynamic_shapes=shapes), path)
    return path


class Encoder(torch.nn.Module):  # type: ignore[misc, name-defined]
    """Tokens, embedded, through one transformer layer with dropout."""

    def __init__(self) -> None:
        super().__init__()
        self.embed = torch.nn.Embedding(20, 8)
        layer = torch.nn.TransformerEncoderLayer(8, 2, 16, dropout=0.5, batch_first=True)
        self.encode = torch.nn.TransformerEncoder(layer, 1)
        self.out = torch.nn.Linear(8, 10)

    def forward(self, tokens: Any) -> Any:
        return self.out(self.encode(self.embed(tokens)).mean(1))


class Recurrent(torch.nn.Module):  # type: ignore[misc, name-defined]
    def __init__(self) -> None:
        super().__init__()
        self.lstm = torch.nn.LSTM(8, 6, batch_first=True, bidirectional=True)
        self.out = torch.nn.Linear(12, 10)

    def forward(self, steps: Any) -> Any:
        return self.out(self.lstm(steps)[0][:, -1])


class TwoHeads(torch.nn.Module):  # type: ignore[misc, name-defined]
    def __init__(self) -> None:
        super().__init__()
        self.embed = torch.nn.Embedding(10, 4)
        self.out = torch.nn.Linear(8, 3)

    def forward(self, numbers: Any, kind: Any) -> Any:
        joined = torch.cat([numbers, self.embed(kind)], 1)
        return {"share": torch.softmax(self.out(joined), 1), "size": joined.norm(dim=1)}


def test_a_digits_network_keeps_its_answers_and_gets_a_label(tmp_path: Path) -> None:
    torch.manual_seed(0)
    images, target = digits()
    rows = torch.tensor(images[:, None])
    parts = (torch.nn.Conv2d(1, 8, 3), torch.nn.ReLU(), torch.nn.MaxPool2d(2), torch.nn.Flatten())
    module = torch.nn.Sequential(*parts, torch.nn.Dropout(0.3), torch.nn.Linear(72, 10))
    _trained(module, rows[::2], torch.tensor(target[::2]))
    source = _saved(tmp_path / "m.pt2", module.eval(), rows[:3], shapes=({0: DIM.DYNAMIC},))
    sample = save_arrays(tmp_path / "s.npz", input=images[:, None], y=target)
    report = convert_here("torch", source, sample, tmp_path, target="y", holdout=str(sample))
    assert differing(report) == 0
    assert report.held_out_correct > 0.8 * report.held_out_rows == 0.8 * 1797
    label = next(f for f in report.schema.outputs if f.role == "label")
    assert label.labels == tuple("0123456789")
    with closing(Session.open(tmp_path / "model.onnx", ModelPlan())) as session:
        found = session.run({"input": images[:50, None]})
    with torch.no_grad():
        expected = module(rows[:50]).argmax(1).numpy()
    np.testing.assert_array_equal(found["label"], expected)


def test_missing_numbers_that_max_pooling_would_hide_are_refused_by_the_schema(
    tmp_path: Path,
) -> None:
    module = torch.nn.Sequential(torch.nn.MaxPool2d(2), torch.nn.Flatten())
    torch.save(module, tmp_path / "m.pt")
    images, _ = digits()
    sample = save_arrays(tmp_path / "s.npz", input=images[:40, None])
    report = convert_here("torch", tmp_path / "m.pt", sample, tmp_path)
    assert differing(report) == 0
    assert report.schema.inputs[0].has_bounds
    assert "missing numbers are refused" in report.lineage.plan


def test_sequences_of_other_lengths_than_the_sample_are_answered_alike(tmp_path: Path) -> None:
    torch.manual_seed(0)
    images, target = digits()
    tokens = (images[:60].reshape(60, 64)[:, 20:27] * 16).astype(np.int64)
    torch.save(Encoder(), tmp_path / "m.pt")
    sample = save_arrays(tmp_path / "s.npz", y=target[:60], tokens=tokens)
    report = convert_here("torch", tmp_path / "m.pt", sample, tmp_path, target="y")
    assert differing(report) == 0
    lengths = [p for n, p in report.parity.probes.items() if n.startswith("length_")]
    assert len(lengths) == 4
    assert all(p.rows > 0 for p in lengths)
    assert "set to eval" in report.lineage.plan
    assert (report.schema.inputs[0].minimum, report.schema.inputs[0].maximum) == (0, 19)


def test_a_length_that_the_exporter_bakes_in_stands_in_the_schema(tmp_path: Path) -> None:
    torch.save(Recurrent(), tmp_path / "m.pt")
    sample = save_arrays(tmp_path / "s.npz", steps=digits()[0][:20, :5])
    report = convert_here("torch", tmp_path / "m.pt", sample, tmp_path)
    assert differing(report) == 0
    assert report.schema.inputs[0].shape == (-1, 5, 8)


def test_an_lstm_is_never_asked_no_rows_which_would_end_the_process(tmp_path: Path) -> None:
    torch.save(Recurrent(), tmp_path / "m.pt")
    sample = save_arrays(tmp_path / "s.npz", steps=digits()[0][:20])
    report = convert_here("torch", tmp_path / "m.pt", sample, tmp_path)
    assert "not asked" in report.parity.probes["batch_0"].note


def test_several_inputs_and_outputs_keep_their_names(tmp_path: Path) -> None:
    torch.save(TwoHeads(), tmp_path / "m.pt")
    rng = np.random.default_rng(0)
    arrays = {"numbers": rng.normal(size=(50, 4)), "kind": rng.integers(0, 10, 50)}
    sample = save_arrays(tmp_path / "s.npz", y=rng.integers(0, 3, 50), **arrays)
    report = convert_here("torch", tmp_path / "m.pt", sample, tmp_path, target="y")
    assert differing(report) == 0
    assert {f.name: f.role for f in report.schema.outputs} == {
        "share": "probabilities",
        "size": "other",
        "label": "label",
    }
    assert [f.datatype for f in report.schema.inputs] == ["FP32", "INT64"]


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision_weights_are_computed_in_float32_and_said_to_be(
    dtype: Any, tmp_path: Path
) -> None:
    torch.save(torch.nn.Linear(64, 3).to(dtype), tmp_path / "m.pt")
    sample = save_arrays(tmp_path / "s.npz", input=digits()[0][:40].reshape(40, 64))
    report = convert_here("torch", tmp_path / "m.pt", sample, tmp_path)
    assert differing(report) == 0
    assert "half precision weights computed in float32" in report.lineage.plan


class Branching(torch.nn.Module):  # type: ignore[misc, name-defined]
    def forward(self, x: Any) -> Any:
        return x * 2 if x.sum() > 0 else x


class Conditional(torch.nn.Module):  # type: ignore[misc, name-defined]
    def forward(self, x: Any) -> Any:
        return torch.cond(x.sum() > 0, lambda v: v * 2, lambda v: v + 1, (x,))


class AlwaysDropping(torch.nn.Module):  # type: ignore[misc, name-defined]
    def forward(self, x: Any) -> Any:
        return torch.nn.functional.dropout(x)


class FixedRows(torch.nn.Module):  # type: ignore[misc, name-defined]
    def forward(self, x: Any) -> Any:
        return x.reshape(3, 64) * 2


@pytest.mark.parametrize(
    ("module", "text"),
    [
        (Branching(), "branches on values"),
        (Conditional(), "control flow"),
        (AlwaysDropping(), r"draws random numbers.*training=self\.training"),
        (FixedRows(), "rows|trace"),
    ],
)
def test_what_one_graph_cannot_say_is_refused(module: Any, text: str, tmp_path: Path) -> None:
    torch.save(module, tmp_path / "m.pt")
    sample = save_arrays(tmp_path / "s.npz", x=digits()[0][:40].reshape(40, 64))
    with pytest.raises(Unsupported, match=text):
        convert_here("torch", tmp_path / "m.pt", sample, tmp_path)


def test_a_program_saved_in_training_mode_or_with_fixed_rows_is_refused(tmp_path: Path) -> None:
    rows = torch.zeros(3, 64)
    sample = save_arrays(tmp_path / "s.npz", input=digits()[0][:40].reshape(40, 64))
    training = torch.nn.Sequential(torch.nn.Linear(64, 3), torch.nn.Dropout(0.5)).train()
    source = _saved(tmp_path / "a.pt2", training, rows, shapes=({0: DIM.DYNAMIC},))
    with pytest.raises(Unsupported, match=r"call model\.eval\(\)"):
        convert_here("torch", source, sample, tmp_path)
    source = _saved(tmp_path / "b.pt2", torch.nn.Linear(64, 3), rows, shapes=None)
    with pytest.raises(Unsupported, match="rows of input 'input' are fixed at 3"):
        convert_here("torch", source, sample, tmp_path)


def test_torchscript_weights_and_garbage_are_refused_with_the_way_out(tmp_path: Path) -> None:
    sample = save_arrays(tmp_path / "s.npz", input=digits()[0][:4].reshape(4, 64))
    with pytest.warns(DeprecationWarning, match="torch.jit"):
        torch.jit.trace(torch.nn.Linear(64, 3), torch.zeros(3, 64)).save(str(tmp_path / "s.pt"))
    torch.save(torch.nn.Linear(64, 3).state_dict(), tmp_path / "w.pt")
    (tmp_path / "g.pt2").write_bytes(b"garbage")
    for name, kind, text in (
        ("s.pt", Unsupported, "TorchScript is not converted; save it with torch.export.save"),
        ("w.pt", Unsupported, "holds weights alone"),
        ("g.pt2", Corrupt, "not a program"),
    ):
        with pytest.raises(kind, match=text):
            convert_here("torch", tmp_path / name, sample, tmp_path)


def test_a_sample_without_an_input_is_told_what_to_give(tmp_path: Path) -> None:
    torch.save(TwoHeads(), tmp_path / "m.pt")
    sample = save_arrays(tmp_path / "s.npz", numbers=np.zeros((5, 4)), other=np.zeros((5, 2)))
    with pytest.raises(InvalidInput, match="nothing is named as the input 'kind'"):
        convert_here("torch", tmp_path / "m.pt", sample, tmp_path)
