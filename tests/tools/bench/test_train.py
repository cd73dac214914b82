"""The benchmark of training: both sides train one network on the same rows, and what is told is what was measured."""

import itertools
import json
import subprocess
import sys

import numpy as np
import pytest
import torch

from tarpon.models.moe.mmoe import MMoE
from tarpon.models.moe.published import load_published
from tarpon.shards.features import open_features
from tarpon.tools.bench import step_timing, train
from tarpon.tools.fish import baseline_trainer, bench_train
from tarpon.train.tasks.fish.losses import attribute_losses, train_facts
from tarpon.train.tasks.fish.options import FishOptions

OUTPUTS = {"family": 9, "order": 5, "habitat": 8, "troph": 1}
SIZES = {"experts": 3, "hidden": 16, "tower": 12}
SPELL = step_timing.StepTiming(
    per_second=300.0,
    parts={"loader": 0.001, "forward": 0.2, "backward": 0.4, "optimizer": 0.1},
    loader_share=0.0014,
    loss=1.0,
    peak_mib=900.0,
    own_mib=500.0,
    data_mib=20.0,
)


@pytest.fixture(scope="module")
def table(tmp_path_factory):
    out = tmp_path_factory.mktemp("bench") / "features"
    bench_train.write_table(out, rows=3000, dim=24)
    return open_features(out)


@pytest.fixture
def work(table):
    return bench_train.Workload(features=table.root, batch=32, threads=torch.get_num_threads(), **SIZES)


def row(name: str, per_second: float, *, loader_share: float = 0.0014) -> train.Row:
    values = vars(SPELL) | {"per_second": per_second, "loader_share": loader_share}
    del values["loss"]
    return train.Row(name=name, unit="rows", slowest=per_second, fastest=per_second, **values)


def test_the_baseline_is_the_published_network(table):
    """Its weights, under their published names, make MMoE answer the same; so nothing is left out on either side."""
    torch.manual_seed(0)
    theirs, ours = baseline_trainer.GatedMMoE(24, OUTPUTS, **SIZES).eval(), MMoE(24, OUTPUTS, **SIZES).eval()
    assert sum(p.numel() for p in theirs.parameters()) == sum(p.numel() for p in ours.parameters())
    load_published(ours, theirs.state_dict())
    features = torch.from_numpy(table.features[:40].astype(np.float32))
    one, two = theirs(features), ours(features)
    assert all(torch.allclose(one[name], two[name], atol=1e-5) for name in OUTPUTS)


def test_at_full_size_it_has_the_published_number_of_parameters():
    with torch.device("meta"):
        model = baseline_trainer.GatedMMoE(1024, {"family": 463, "order": 92, "habitat": 8, "troph": 1})
    assert sum(p.numel() for p in model.parameters()) == 34_193_988


def test_both_sides_have_one_loss():
    """On a batch whose known share is the training rows', where the two denominators agree."""
    draw = torch.Generator().manual_seed(0)
    out = {name: torch.randn(12, width, generator=draw, requires_grad=True) for name, width in OUTPUTS.items()}
    labels = {
        "family": torch.arange(12) % 9,
        "order": torch.arange(12) % 5,
        "habitat": torch.randint(2, (12, 8), generator=draw).to(torch.int8),
        "troph": torch.rand(12, generator=draw),
    }
    labels["habitat"][3], labels["troph"][3] = -1, torch.nan
    labels["order"][5] = -1
    weights = FishOptions().task_weights()
    theirs = baseline_trainer.sum_losses(out, labels, weights)
    facts = train_facts(labels, classes={"family": 9, "order": 5}, balanced=False)
    ours = sum(attribute_losses(out, {**labels, "row": torch.arange(12)}, facts=facts, weights=weights).values())
    assert theirs.item() == pytest.approx(ours.item(), rel=1e-6)
    theirs.backward()
    assert all(torch.isfinite(scores.grad).all() for scores in out.values())
    assert not out["habitat"].grad[3].any()
    assert not out["troph"].grad[3].any()


def test_the_table_is_as_uneven_as_fishnet(table):
    assert table.features.dtype == np.float16
    assert np.allclose(np.linalg.norm(table.features.astype(np.float32), axis=1), 1, atol=2e-3)
    family, order = (
        table.codes("family", table.card["classes"]["families"]),
        table.codes("order", table.card["classes"]["orders"]),
    )
    counts = np.bincount(family, minlength=463)
    assert len(np.unique(order)) == 83
    assert counts.min() >= 1
    assert counts.max() > 20 * np.median(counts)
    assert all(len(np.unique(order[family == name])) == 1 for name in range(463))  # a family is of one order
    missing = np.isnan(table.numbers("troph"))
    assert 0.03 < missing.mean() < 0.07
    assert np.array_equal(missing, (table.flags("habitat", 8) < 0).all(1))
    assert len(table.split("val")) == 450


@pytest.mark.parametrize("workers", [0, 2])
def test_the_baseline_learns_and_meets_every_training_row(work, table, workers):
    trainer = bench_train.make_baseline(work=work, workers=workers)
    batches = list(itertools.islice(trainer.batches, -(-2550 // 32)))
    met = np.concatenate([batch["features"].numpy() for batch in batches]).astype(np.float16)
    assert np.array_equal(np.unique(met, axis=0), np.unique(table.features[table.split("train")], axis=0))
    losses = [step_timing.time_step(trainer)[2].item() for _ in range(30)]
    assert np.isfinite(losses).all()
    assert losses[-1] < losses[0]


def test_tarpon_trains_the_same_network_and_meets_other_rows_each_step(work):
    trainer = bench_train.make_tarpon(work=work, resident=False)
    one, two = next(trainer.batches), next(trainer.batches)
    assert len(set(one["row"].tolist()) | set(two["row"].tolist())) == 64
    spell = step_timing.time_steps(trainer, steps=20, warm_up=1)
    assert np.isfinite(spell.loss)
    assert set(spell.parts) == set(step_timing.PARTS)
    assert 0 < spell.loader_share < 1


def test_resident_means_one_batch(work):
    trainer = bench_train.make_tarpon(work=work, resident=True)
    assert next(trainer.batches) is next(trainer.batches)


COPY = """
import sys
import numpy as np
from tarpon.tools.bench import step_timing
before = step_timing.own_mib()
mapped = np.memmap(sys.argv[1], np.uint8, "w+", shape=64 * 2**20)
mapped[:] = 1
between = step_timing.own_mib()
copied = np.array(mapped)
print(between - before, step_timing.own_mib() - between)
"""


def test_a_copied_table_would_show(tmp_path):
    """In a process of its own: one that keeps the memory it once used grows no more for a copy."""
    done = subprocess.run([sys.executable, "-c", COPY, tmp_path / "block"], capture_output=True, text=True, check=True)
    mapped, copied = map(float, done.stdout.split())
    assert mapped < 8
    assert copied > 56


def test_a_loss_that_is_no_number_is_told():
    trainer = step_timing.Trainer(
        batches=itertools.repeat({"features": torch.zeros(2)}),
        forward=lambda batch: torch.tensor(torch.nan),
        backward=lambda loss: None,
        advance=lambda: None,
        close=lambda: None,
        device=torch.device("cpu"),
        data_mib=0.0,
    )
    with pytest.raises(FloatingPointError, match="loss is nan after 3 steps"):
        step_timing.time_steps(trainer, steps=2, warm_up=1)


def test_the_better_baseline_counts_and_a_missed_aim_is_told():
    measured = [
        ("tarpon", row("tarpon", 300)),
        ("baseline", row("slow one", 100)),
        ("baseline", row("quick one", 250)),
        ("resident", row("resident", 303)),
    ]
    chosen, ratios = train.compare(measured)
    assert [row.name for row in chosen] == ["tarpon", "quick one", "resident"]
    assert ratios == {"tarpon_over_baseline": 1.2, "tarpon_over_resident": 300 / 303, "loader_share": 0.0014}
    where = {"cpu": "x", "cores": 2, "memory_gib": 1, "gpu": None, "load_average": [0.0]}
    lines = list(train.format_report(chosen, ratios, where, conditions="..."))
    assert sum("MISSED" in line for line in lines) == 1
    assert "Missed: tarpon over the baseline. Tarpon's step: loader 0%" in lines[-1]
    assert list(train.list_others(measured, chosen)) == ["Also tried: slow one, 100 rows/s."]


def test_met_aims_need_no_verdict():
    chosen, ratios = train.compare([("tarpon", row("t", 300)), ("baseline", row("b", 100)), ("resident", row("r", 300))])
    where = {"cpu": "x", "cores": 2, "memory_gib": 1, "gpu": None, "load_average": [0.0]}
    text = "\n".join(train.format_report(chosen, ratios, where, conditions="..."))
    assert "MISSED" not in text
    assert "Missed" not in text


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"task": "birds"}, "task='birds' has no train benchmark; there is: fish"),
        ({"steps": 0}, "steps=0 and repeats=3"),
        ({"features": "nowhere"}, "nowhere: no features.json"),
        ({"rows": 3}, "rows=3 must be 10 or more"),
        ({"rows": 50, "dim": 4, "batch": 0}, "batch=0 and threads"),
    ],
)
def test_mistakes_are_told_before_anything_is_timed(change, said):
    with pytest.raises(ValueError, match=said):
        train.run(**{"task": "fish", **change})


@pytest.mark.slow
def test_a_run_prints_three_rows_and_writes_the_agreed_json(capsys, tmp_path):
    """A whole run of the full network on few rows, each variant in its own process."""
    path = tmp_path / "b.json"
    assert train.run(task="fish", rows=600, dim=16, batch=16, steps=1, warm_up=0, repeats=1, threads=1, json=str(path)) == 0
    told = json.loads(path.read_text())
    assert set(told) == {"rows", "ratios", "machine"}
    assert len(told["rows"]) == 3
    fields = {"name", "unit", "per_second", "slowest", "fastest", "loader_share", "parts", "peak_mib", "own_mib", "data_mib"}
    assert all(set(row) == fields for row in told["rows"])
    assert set(told["ratios"]) == set(train.AIMS)
    assert {"cpu", "cores", "memory_gib", "gpu", "load_average", "versions"} == set(told["machine"])
    text = capsys.readouterr().out
    assert sum(row["name"] in text for row in told["rows"]) == 3
    assert "Also tried: modules + DataLoader" in text
