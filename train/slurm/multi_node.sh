#!/usr/bin/env bash
# One training on the GPUs of several nodes: one torchrun a node, started by srun; train/launch.py takes its place from it.
#   sbatch train/slurm/multi_node.sh cells --config cells.yaml --data shards --out runs/cells --global_batch 256
# Edit: the resources below (GPUs a node, cores about 8 a GPU, memory, time, and --partition or --account where the site
# wants them) and VENV. Repository, environment, shards and --out must lie on a file system that all nodes see.
# global_batch must be a multiple of micro_batch x all GPUs.
# The same line again goes on where a job was ended by its time limit.
#SBATCH --job-name=tarpon
#SBATCH --nodes=2
#SBATCH --ntasks-per-node=1
#SBATCH --gpus-per-node=4
#SBATCH --cpus-per-task=32
#SBATCH --mem=128G
#SBATCH --time=12:00:00
#SBATCH --output=tarpon-%j.log
set -euo pipefail

cd "${SLURM_SUBMIT_DIR:?start this with sbatch, from the repository}"
VENV=${VENV:-.venv}
export PATH="$PWD/$VENV/bin:$PATH"

GPUS=${SLURM_GPUS_ON_NODE:?no GPUs were given; set --gpus-per-node}
FIRST_NODE=$(scontrol show hostnames "$SLURM_JOB_NODELIST" | sed -n 1p) # not head: it would end scontrol early, which pipefail takes for an error
export LOCAL_SIZE=$GPUS # processes a node, among which the loader shares out its cores; torchrun does not tell

# srun hands its tasks the cores of --cpus-per-task only when told so again (SLURM 22.05 and later).
srun --cpus-per-task="$SLURM_CPUS_PER_TASK" --kill-on-bad-exit=1 \
  torchrun --nnodes="$SLURM_NNODES" --nproc-per-node="$GPUS" \
  --rdzv-id="$SLURM_JOB_ID" --rdzv-backend=c10d --rdzv-endpoint="$FIRST_NODE:$((20000 + SLURM_JOB_ID % 20000))" \
  train/launch.py "$@"
