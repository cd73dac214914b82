"""What the run folder stores of the configuration."""

import os

import yaml

from tarpon.train.folder import with_absolute_data


def test_data_are_stored_as_a_whole_path_and_nothing_else_changes(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    long = "/".join(["a folder with blanks"] * 8)
    for held in ("shards", "../x: y", long, "#odd", "é"):
        text = yaml.safe_dump({"epochs": 3, "data": held, "optim": {"data": "kept", "lr": 1e-4}}, sort_keys=False)
        got = yaml.safe_load(with_absolute_data(text))
        assert got == {"epochs": 3, "data": os.path.abspath(held), "optim": {"data": "kept", "lr": 1e-4}}


def test_a_url_and_no_data_stay(tmp_path):
    for text in ("data: s3://bucket/shards\nseed: 1\n", "seed: 1\n", "data: null\n"):
        assert with_absolute_data(text) == text
