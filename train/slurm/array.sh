#!/usr/bin/env bash
# One training for each number of a job array, each on GPUs of its own: seeds, or the folds of shards packed with --folds K.
#   sbatch --array=0-4 train/slurm/array.sh seed cells --config cells.yaml --data shards --out runs/cells
#   sbatch --array=0-4 train/slurm/array.sh fold cells --config cells.yaml --data shards --out runs/cells-cv
# The runs are OUT/seed-0, OUT/seed-1 and so on; OUT/fold-0 ... are those that `tarpon folds cells --data shards --out OUT`
# sums up when all are there. --array=0-99%8 runs eight at a time.
# Edit: the resources below (GPUs, cores about 8 a GPU, memory, time, and --partition or --account where the site wants
# them) and VENV. The same line again goes on where jobs were ended by their time limit.
#SBATCH --job-name=tarpon
#SBATCH --nodes=1
#SBATCH --ntasks-per-node=1
#SBATCH --gpus-per-node=1
#SBATCH --cpus-per-task=8
#SBATCH --mem=64G
#SBATCH --time=12:00:00
#SBATCH --output=tarpon-%A-%a.log
set -euo pipefail

cd "${SLURM_SUBMIT_DIR:?start this with sbatch, from the repository}"
VENV=${VENV:-.venv}
export PATH="$PWD/$VENV/bin:$PATH"

NUMBER=${SLURM_ARRAY_TASK_ID:?no number was given; start this with sbatch --array=0-4}
OPTION=${1:?the first word is the option that differs: seed or fold}
shift

# The folder of this number below the one that --out names, which is taken out of the words.
WORDS=() OUT=""
while (($#)); do
  case $1 in
    --out) OUT=${2:?--out needs a folder}; shift ;;
    --out=*) OUT=${1#--out=} ;;
    *) WORDS+=("$1") ;;
  esac
  shift
done

# Jobs that share a node must not share the launcher's port; the numbers of an array's jobs follow each other.
deepspeed --master_port "$((20000 + SLURM_JOB_ID % 20000))" train/launch.py "${WORDS[@]}" \
  --out "${OUT:?name a folder with --out}/$OPTION-$NUMBER" "--$OPTION" "$NUMBER"
