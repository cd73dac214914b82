"""A trained cells model as a tool: the pages of a stack in, probability of infection and hours out. N pages, B of a batch."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields, replace
from pathlib import Path

import numpy as np
import torch

from tarpon.models.pages.reader import PageReader
from tarpon.pipelines.feed import Feed
from tarpon.pipelines.loader import Loader
from tarpon.pipelines.page.feed import find_neighbours, request_pages
from tarpon.shards.manifest import open_manifest
from tarpon.shards.page_planes import count_channels
from tarpon.shards.quarantine import Budget
from tarpon.shards.sampling import plan
from tarpon.shards.sources.cells.source import CellsSource
from tarpon.tools.cells.unlabelled import LooseStack
from tarpon.tools.evaluate import run_folder
from tarpon.train.checkpoint import load_weights
from tarpon.train.config import Run, parser_for
from tarpon.train.engine import DistContext, cores
from tarpon.train.prediction_files import list_shares
from tarpon.train.tasks.cells import export
from tarpon.train.tasks.cells.data import finish_pages, page_fields, page_graph
from tarpon.train.tasks.cells.metrics.predictions import PageRows
from tarpon.train.tasks.cells.options import CellsOptions
from tarpon.train.tasks.cells.outputs import read_predictions
from tarpon.train.tasks.cells.task import build_model


@dataclass(frozen=True, kw_only=True, eq=False)
class PageModel:
    """A network with the options its input is made by, on its device."""

    name: str  # of the run's folder, or of the checkpoint's file
    folder: Path  # where the run's own predictions lie
    model: PageReader
    run: Run
    options: CellsOptions
    packing: Mapping[str, object]  # options of CellsSource that the pages trained on were made with
    context: DistContext

    def predict(self, stack: LooseStack) -> tuple[np.ndarray, np.ndarray]:
        """Probability of infection and clamped hours of every page, (N,) float32 each, in the order of the stack's rows."""
        # what the card of the data trained on says (the camera's bits) holds of new pages too
        manifest, window = replace(stack.manifest, card=dict(self.packing)), self.options.model.window
        rows, present = find_neighbours(manifest.column("stack"), manifest.column("page"), window=window)
        fields_of_page = page_fields(self.options, manifest, noise=False, gpu=self.context.gpu is not None)
        loader = Loader(
            page_graph(self.run, self.options, manifest, training=False),
            Feed(manifest, stack.pages, fields_of_page, pool=np.arange(len(rows)), budget=Budget(0)),
            device=self.context.gpu,
            threads=self.run.loader.threads or cores(self.context),
        )
        nothing = torch.zeros(len(rows), device=self.context.device)
        columns = {"label": nothing.long(), "hours": nothing, "target": nothing}
        batches = plan.sequential_batches(len(rows), micro=self.run.micro_batch)
        work = (request_pages(rows[at], present[at] & (at >= 0)[:, None]) for at in batches)
        prob, hours = (np.full(len(rows), np.nan, np.float32) for _ in range(2))
        with torch.no_grad():
            for out in loader.run(work):
                batch = finish_pages(out, "", columns=columns, window=window, device=self.context.device)
                real = batch["row"] >= 0
                answer = self.model(clip=batch["clip"], valid=batch["valid"])
                at = batch["row"][real].cpu().numpy()
                prob[at] = answer["label"].softmax(1)[real, 1].cpu().numpy()
                hours[at] = answer["hours"].clamp(*self.options.clamp_range)[real].cpu().numpy()
        return prob, hours

    def validation(self) -> PageRows | None:
        """What the run answered on its validation; None where its folder is not beside the checkpoint."""
        path = self.folder / "predictions" / "val.npz"
        there, config = list_shares(path), {"infection_onset_hour": self.options.infection_onset_hour}
        return read_predictions(path, config) if there else None


def load_model(path: Path, *, batch: int = 0, threads: int = 0) -> PageModel:
    """The model of a run folder or of its checkpoints/best.pt, in evaluation mode, on the GPU where there is one.

    Args:
        batch: pages a pass; 0: as in training.
        threads: that decode; 0: as in training.
    """
    file = path / export.NAME if path.is_dir() else path
    if file.suffix == ".safetensors":  # of a run folder, whose checkpoint holds the same weights and the options
        file = run_folder(file) / export.NAME
    held = export.load(file)
    parser = parser_for(CellsOptions, recipe=None, task="cells")
    made = parser.instantiate(parser.parse_object({**held["args"]["run"], **held["args"]["rebuild"]}))
    run, options = (kind(**{f.name: made[f.name] for f in fields(kind)}) for kind in (Run, CellsOptions))
    run = replace(run, micro_batch=batch or run.micro_batch, global_batch=batch or run.micro_batch)
    run = replace(run, loader=replace(run.loader, threads=threads or run.loader.threads))
    packing = held["packing"] if "packing" in held else find_packing(run.data, file)
    model = build_model(run, options, channels=count_channels(packing))
    load_weights(model, held["model_state_dict"], name=str(file))
    device = torch.device("cuda", 0) if torch.cuda.is_available() else torch.device("cpu")
    folder = run_folder(file)
    folder = folder if folder.is_dir() else file.parent
    return PageModel(
        name=folder.resolve().name,
        folder=folder,
        model=model.to(device).eval(),
        run=run,
        options=options,
        packing=packing,
        context=DistContext(rank=0, world=1, local_rank=0, local_world=1, device=device),
    )


def find_packing(data: str, file: Path) -> Mapping[str, object]:
    """How the pages trained on were made, from the shards themselves, for checkpoints of earlier versions.

    Raises:
        ValueError: the shards are not there.
    """
    try:
        return open_manifest(data, kind="cells").card["settings"]
    except (ValueError, OSError) as error:
        raise ValueError(
            f"{file}: an earlier Tarpon wrote it without telling how its pages were made, and its data {data} are not there; "
            f"train again"
        ) from error


def choose_source(models: Sequence[PageModel], *, frames_per_hour: float | None = None) -> CellsSource:
    """How new stacks become pages: as those that all the models were trained on. ValueError where they differ."""
    known = {field.name for field in fields(CellsSource)} - {"group", "folds", "seed"}
    sources = [CellsSource(**{name: value for name, value in model.packing.items() if name in known}) for model in models]
    if frames_per_hour is not None:
        sources = [replace(source, frames_per_hour=frames_per_hour) for source in sources]
    for model, source in zip(models, sources, strict=True):
        if source != sources[0]:
            raise ValueError(
                f"{model.name} and {models[0].name} were trained on pages made in different ways ({source} and {sources[0]}); "
                f"predict with each alone"
            )
    return sources[0]
