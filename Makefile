# make demo   install, make a synthetic lab, pack, train, evaluate, report
# make demo-fish   the same for fish: features once, a mixture of experts, its baseline, two reports
# make demo-cells   the same for cells: stacks of infected and healthy cultures, split by well
# make demo-star   the same for sea stars: animals known again; pre-trained on drawn wildlife and fine-tuned, and stars alone
# make test   install and run the tests that need no GPU; make test-slow: those that take long (kernels in Triton's interpreter, two processes)
# make docs   the documentation as a site, into build/docs
# make gpu    on a machine with an NVIDIA GPU: check and time everything (without pip or for a few minutes only: docs/gpu-visit.md)
SHELL := /bin/bash
PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
export PATH := $(CURDIR)/$(BIN):$(PATH)
ifeq ($(wildcard /dev/nvidia* /dev/dxg /dev/kfd),)
export DS_ACCELERATOR := cpu# or DeepSpeed's launcher says in every process that it found no GPU
endif

.PHONY: env test test-slow lint docs demo demo-fish demo-cells demo-star gpu clean

env: $(VENV)/.ready

$(VENV)/.ready: setup.cfg pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(not (3, 11) <= sys.version_info[:2] <= (3, 13))' || \
	  { echo "make: Python 3.11 to 3.13 is needed, $$($(PYTHON) --version 2>&1) was found; try make env PYTHON=python3.12" >&2; exit 2; }
	@command -v g++ >/dev/null || { echo "make: no C++ compiler; apt-get install g++ (DeepSpeed compiles its CPU communication op)" >&2; exit 2; }
	@$(PYTHON) -c 'import sys, sysconfig, os; sys.exit(not os.path.exists(os.path.join(sysconfig.get_path("include"), "Python.h")))' || \
	  { echo "make: no Python headers; apt-get install python3-dev" >&2; exit 2; }
	@$(PYTHON) -c 'import venv, ensurepip' 2>/dev/null || { echo "make: no venv module; apt-get install python3-venv" >&2; exit 2; }
	@echo "Installing into $(VENV): about 7 GB, a few minutes; DeepSpeed's CPU communication op is compiled at the end (1 to 4 minutes, once)."
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[cuda13,bench,h5,sleap,zarr,http,s3,cluster,onnx,docs,dev]'
	$(BIN)/tarpon doctor --build
	@touch $@

# a test process a core, of one thread each
WORKERS ?= $(shell nproc)
PYTEST := OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n $(WORKERS) --dist worksteal

test: env
	$(PYTEST) -m 'not gpu and not slow'

test-slow: env
	$(PYTEST) -m 'slow and not gpu'

lint: env
	$(BIN)/ruff check .
	$(BIN)/hadolint docker/Dockerfile

# the reference and the notebook are made from the program and the page; a broken link is an error
docs: env
	$(BIN)/python -m tarpon.tools.option_pages docs/reference
	$(BIN)/python -m tarpon.tools.notebook docs/python.md docs/python.ipynb
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --quiet --strict --config-file docs/site/mkdocs.yml

demo: env
	rm -rf runs/demo runs/demo-lab runs/demo-shards
	tarpon demo mouse --out runs/demo-lab
	tarpon pack mouse --videos runs/demo-lab/Videos --annotations runs/demo-lab/Annotations --out runs/demo-shards \
	  --group '(\d+[MF])_' --split 0.55,0.15,0.3 --short_side 160
	deepspeed --quiet --num_accelerators 1 train/launch.py mouse --config train/recipes/mouse/demo.yaml --data runs/demo-shards --out runs/demo
	tarpon report runs/demo

# one thread to train: its steps are too small to share out, and waiting for another thread costs more than it does
demo-fish: env
	rm -rf runs/demo-fish runs/demo-fish-lab runs/demo-fish-shards runs/demo-fish-features
	tarpon demo fish --out runs/demo-fish-lab
	tarpon pack fish --images runs/demo-fish-lab/images --annotations runs/demo-fish-lab/anns --out runs/demo-fish-shards
	tarpon features runs/demo-fish-shards --backbone resnet10t --pretrained false --image_size 128 --resize 144 --out runs/demo-fish-features
	for architecture in mmoe multihead; do \
	  OMP_NUM_THREADS=1 deepspeed --quiet --num_accelerators 1 train/launch.py fish --config train/recipes/fish/demo.yaml --data runs/demo-fish-features \
	    --out runs/demo-fish --model.architecture $$architecture || exit 1; done
	for run in runs/demo-fish/*; do tarpon report $$run || exit 1; done

demo-cells: env
	rm -rf runs/demo-cells runs/demo-cells-lab runs/demo-cells-shards
	tarpon demo cells --out runs/demo-cells-lab --wells 64 --stacks 128 --pages 24 --onset 3
	tarpon pack cells --config runs/demo-cells-lab/cells.yaml --out runs/demo-cells-shards --group well --split 0.6,0.15,0.25
	OMP_NUM_THREADS=2 deepspeed --quiet --num_accelerators 1 train/launch.py cells --config runs/demo-cells-lab/cells.yaml \
	  --config train/recipes/cells/demo.yaml --data runs/demo-cells-shards --out runs/demo-cells
	tarpon report runs/demo-cells

STAR := OMP_NUM_THREADS=2 deepspeed --quiet --num_accelerators 1 train/launch.py star --config train/recipes/star/demo.yaml

demo-star: env
	rm -rf runs/demo-star
	tarpon demo star --out runs/demo-star/lab
	tarpon demo wildlife --out runs/demo-star/wildlife-lab --only AerialCattle2017 --identities 40 --images 24
	tarpon pack star --root runs/demo-star/lab --out runs/demo-star/shards
	tarpon pack wildlife --root runs/demo-star/wildlife-lab --out runs/demo-star/wildlife-shards
	$(STAR) --strategy pretrain --epochs 30 --schedule.warmup_epochs 2 --data runs/demo-star/wildlife-shards --out runs/demo-star/pretrain
	$(STAR) --strategy finetune --checkpoint runs/demo-star/pretrain --data runs/demo-star/shards --out runs/demo-star/finetune
	$(STAR) --strategy star_only --data runs/demo-star/shards --out runs/demo-star/star_only
	tarpon report runs/demo-star/finetune
	tarpon report runs/demo-star/star_only

gpu: env
	tarpon gpu --prepare runs/gpu-shards
	tarpon gpu --shards runs/gpu-shards --out runs/gpu
	tarpon gpu --collect runs/gpu

clean:
	rm -rf runs build *.egg-info
