"""Every folder with code is a package: found, so that a new one is listed nowhere. All else is in setup.cfg."""

from setuptools import find_packages, setup

LAYERS = ("shards", "pipelines", "models", "train", "tools")

setup(packages=[f"tarpon.{name}" for layer in LAYERS for name in find_packages(include=(layer, f"{layer}.*"))])
