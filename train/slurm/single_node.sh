#!/usr/bin/env bash
# One training on the GPUs of one node: the same command as without SLURM.
#   sbatch train/slurm/single_node.sh cells --config cells.yaml --data shards --out runs/cells
# Edit: the resources below (GPUs, cores about 8 a GPU, memory, time, and --partition or --account where the site wants
# them) and VENV. global_batch stays what the recipe says; it must be a multiple of micro_batch x GPUs.
# The same line again goes on where a job was ended by its time limit.
#SBATCH --job-name=tarpon
#SBATCH --nodes=1
#SBATCH --ntasks-per-node=1
#SBATCH --gpus-per-node=1
#SBATCH --cpus-per-task=8
#SBATCH --mem=64G
#SBATCH --time=12:00:00
#SBATCH --output=tarpon-%j.log
set -euo pipefail

cd "${SLURM_SUBMIT_DIR:?start this with sbatch, from the repository}"
VENV=${VENV:-.venv}
export PATH="$PWD/$VENV/bin:$PATH"

# Jobs that share a node must not share the launcher's port.
deepspeed --master_port "$((20000 + SLURM_JOB_ID % 20000))" train/launch.py "$@"
