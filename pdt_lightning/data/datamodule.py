"""MultiTaskDataModule: collects what is missing, and serves balanced batches of windows and prompts."""

import functools
from collections.abc import Sequence
from typing import Any, Literal

import gymnasium as gym
import lightning
import numpy as np
from torch.utils.data import DataLoader

from pdt_lightning.core.errors import UserError, check_writable
from pdt_lightning.core.plain import plain
from pdt_lightning.core.ranges import check_types
from pdt_lightning.core.seeding import generator
from pdt_lightning.data import minari
from pdt_lightning.data.batches import Batch, Pool, draw
from pdt_lightning.data.checks import (
    check_datasets,
    check_environments,
    check_ranks,
    check_rows,
    check_segments,
    check_training_tasks,
    chosen_tasks,
    validation_episodes,
)
from pdt_lightning.data.collect import collect
from pdt_lightning.data.episodes import Episodes
from pdt_lightning.data.facts import Facts
from pdt_lightning.data.mapped import open_episodes
from pdt_lightning.data.normalisation import Statistics
from pdt_lightning.data.option_types import Attention, Count, Share, Steps, TaskSamplingName, Workers
from pdt_lightning.data.segments import Segments, Training
from pdt_lightning.data.streams import FixedBatches, UpdateStream
from pdt_lightning.data.task_sampling import TaskSampling
from pdt_lightning.tasks.actions import choices_of
from pdt_lightning.tasks.base import Task, make_family


class MultiTaskDataModule(lightning.LightningDataModule):
    """Demonstrations of a family's tasks.

    Args:
        family: name of a task family: `point`, `metaworld`, `metaworld-set`, `half-cheetah-vel`, `half-cheetah-dir`,
            `ant-dir`, `minari` (datasets of your own), or one of an installed package.
        family_options: options of the family, such as `{horizon: 150}`; its docstring lists them.
        context_steps: `K`, steps of the recent past that the model sees.
        attention: the model's; `published` trains on windows of `K` steps, `window` on chunks of episodes.
        chunk_steps: steps of a chunk; null: twice `K`. With whole episodes a training step sees all that it sees in a
            rollout, over several layers more than `K` steps; shorter chunks see less and train faster.
        segments: `J`, segments in a prompt.
        segment_steps: `H`, consecutive steps in a segment.
        prompt_sampling: in training, `uniform` over all windows or, as in the public code, the `tail` of an episode.
        task_sampling: `uniform`; or, after the first epoch, `sensitivity`: tasks whose actions depend more on their
            prompts are trained on more often; or `success`: those whose success, in four rollouts of each before every
            epoch, is nearer to one half.
        use_expert_actions: learn the noise-free expert actions where the demonstrations carry them, else the executed
            ones.
        batch_size: windows or chunks in an update, over all ranks.
        updates_per_epoch: optimiser updates between two validations.
        validation_share: share of each training task's episodes that is not trained on, at least one episode.
        validation_windows: windows or chunks in a validation, for the training tasks and again for the held-out ones.
        tuned_training_tasks: ids of training tasks whose prompts are tuned too, which then need candidates.
        collection_workers: processes that collect demonstrations; null: one a core.
        progress: show bars while collecting and reading.
        seed: of the batches.
    """

    def __init__(
        self,
        family: str = "metaworld",
        family_options: dict[str, Any] | None = None,
        context_steps: Steps = 20,
        attention: Attention = "published",
        chunk_steps: int | None = None,
        segments: Count = 1,
        segment_steps: Count = 5,
        prompt_sampling: Literal["uniform", "tail"] = "uniform",
        task_sampling: TaskSamplingName = "uniform",
        use_expert_actions: bool = True,
        batch_size: Count = 64,
        updates_per_epoch: Count = 1000,
        validation_share: Share = 0.1,
        validation_windows: Count = 1024,
        tuned_training_tasks: list[str] | None = None,
        collection_workers: Workers | None = None,
        progress: bool = True,
        seed: int = 0,
    ):
        super().__init__()
        check_types("data", MultiTaskDataModule.__init__, locals())
        if attention == "published" and chunk_steps is not None:
            raise UserError(
                f"`data.chunk_steps`={chunk_steps} is for `model.attention`=window; set it to null for published."
            )
        if chunk_steps is not None and chunk_steps < context_steps:
            raise UserError(
                f"`data.chunk_steps`={chunk_steps} is less than `data.context_steps`={context_steps}, a window. Raise "
                "it, or set it to null for twice as many."
            )
        self.save_hyperparameters()
        self.hparams.update(plain(self.hparams))  # a NumPy number among them would make checkpoints that cannot be read
        self.family = make_family(family, self.hparams["family_options"])
        # What a model needs to know before there is data:
        observations, actions = self.family.spaces()
        self.state_size, self.action_size = observations.shape[0], actions.shape[0]
        self.action_choices = list(choices_of(actions)) or None
        self.max_timesteps = self.family.max_timesteps
        check_training_tasks(tuned_training_tasks or (), [task.id for task in self.family.training_tasks])
        self.task_sampling = TaskSampling(task_sampling, len(self.family.training_tasks), seed)
        self.facts = Facts()
        self.statistics: Statistics | None = None
        self.row_steps = context_steps

    def _prompt_tasks(self) -> list[Task]:
        """Tasks with candidates for prompts: the held-out ones, and those training tasks that are tuned."""
        by_id = {task.id: task for task in self.family.tasks}
        ids = [*(task.id for task in self.family.heldout_tasks), *(self.hparams["tuned_training_tasks"] or ())]
        return [by_id[name] for name in dict.fromkeys(ids)]

    def chosen(self, names: Sequence[str] | None) -> list[str]:
        """Ids of the held-out tasks to tune: all where `names` is None.

        Raises:
            UserError: if `names` is empty or has others in it.
        """
        return chosen_tasks(names, [task.id for task in self.family.heldout_tasks])

    def check(self, ranks: int = 1) -> None:
        """Refuse what can be told before anything is collected or trained.

        Args:
            ranks: processes that share a batch.

        Raises:
            UserError: naming the option or the dataset.
        """
        check_ranks(self.hparams["batch_size"], ranks)
        recipes = self.family.recipes
        self._check_candidates()
        check_datasets(self.family.training_tasks, "training_data", recipes)
        for task in self.family.training_tasks:
            if all(name in recipes for name in task.training_data):
                planned = sum(recipes[name].episodes for name in task.training_data)
                validation_episodes(self.hparams["validation_share"], task.id, planned)
        check_rows(self.hparams, self.state_size + 2 * self.action_size + 1, self.max_timesteps)

    @functools.cached_property
    def action_space(self) -> gym.spaces.Box:
        """The box that holds the actions of all tasks, whose environments are checked for it."""
        return check_environments(self.family.tasks, self.family.recipes)

    def _check_candidates(self) -> None:
        _ = self.action_space
        check_datasets(self._prompt_tasks(), "prompt_data", self.family.recipes)

    def prepare_data(self) -> None:
        """Collect the demonstrations that are not on this machine yet, and make them ready to be mapped."""
        if self.statistics is not None:  # Lightning asks once more after whoever had to know earlier
            return
        self.check()
        self._collect((self.family.training_tasks, "training_data"), (self._prompt_tasks(), "prompt_data"))

    def _collect(self, *groups: tuple[Sequence[Task], str]) -> None:
        wanted = [name for tasks, kind in groups for task in tasks for name in getattr(task, kind)]
        if not all(minari.exists(name) for name in wanted):
            check_writable("MINARI_DATASETS_PATH", minari.path_of(""))
        collect(wanted, self.family.recipes, self.hparams["collection_workers"], self.hparams["progress"])
        for tasks, kind in groups:
            if tasks:
                self.facts.resolve(tasks, kind, self._open)  # in one process, for the others to find

    def setup(self, stage: str | None = None) -> None:
        """Map the demonstrations, which a first process makes ready, and split off validation episodes."""
        if self.statistics is not None:
            return
        options = self.hparams
        pool_options = (options["segment_steps"], options["prompt_sampling"])
        self.training_tasks, episodes = self.facts.resolve(self.family.training_tasks, "training_data", self._open)
        self._map_candidates()
        self.heldout_tasks = [self.prompt_tasks[task.id] for task in self.family.heldout_tasks]
        self.heldout_pool = None
        if self.heldout_tasks:
            heldout = np.flatnonzero(self._prompt_episodes.task < len(self.heldout_tasks))  # which come first
            self.heldout_pool = Pool(self._prompt_episodes, heldout, *pool_options)

        validation = np.zeros(len(episodes), bool)
        bounds = np.searchsorted(episodes.task, np.arange(len(self.training_tasks) + 1))
        for task, first, last in zip(self.training_tasks, bounds[:-1], bounds[1:], strict=True):
            count = validation_episodes(options["validation_share"], task.id, last - first)
            rng = generator(options["seed"], "validation", task.id)
            validation[rng.choice(np.arange(first, last), count, replace=False)] = True
        if options["attention"] == "window":
            self.row_steps = min(options["chunk_steps"] or 2 * options["context_steps"], int(episodes.lengths.max()))
        self.training_pool = Pool(episodes, np.flatnonzero(~validation), *pool_options)
        self.validation_pool = Pool(episodes, np.flatnonzero(validation), *pool_options)
        check_segments(episodes, self.training_pool.members, options["segment_steps"], self.training_tasks)
        self.statistics = Statistics.of(
            episodes, self.training_pool.members, self.action_space.low, self.action_space.high
        )

    def prepare_candidates(self) -> None:
        """Collect and map what prompts are taken from, and no more: all it takes to tune a frozen transformer."""
        self._check_candidates()
        self._collect((self._prompt_tasks(), "prompt_data"))
        self._map_candidates()

    def _map_candidates(self) -> None:
        self.prompt_tasks: dict[str, Task] = {}
        if self._prompt_tasks():
            tasks, self._prompt_episodes = self.facts.resolve(self._prompt_tasks(), "prompt_data", self._open)
            self.prompt_tasks = {task.id: task for task in tasks}
        for name in self.prompt_tasks:
            self.segments(name)  # raises, by name, where no demonstration is long enough

    def state_dict(self) -> dict[str, Any]:
        """What a checkpoint keeps: horizon, target and scale of each task, and by what tasks are drawn."""
        return {"facts": self.facts.known, **self.task_sampling.state_dict()}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Go on drawing tasks as before; facts are read again from the demonstrations."""
        self.task_sampling.load_state_dict(state_dict)

    def _open(self, tasks: Sequence[Task], kind: str) -> Episodes:
        datasets = [getattr(task, kind) for task in tasks]
        horizons = [task.horizon for task in tasks]
        episodes = open_episodes(datasets, self.hparams["use_expert_actions"], self.hparams["progress"], horizons)
        for name, of in (("observations", "state_size"), ("actions", "action_size")):
            size, seen = getattr(self, of), getattr(episodes, of)
            if seen != size:
                raise UserError(
                    f"{datasets[0][0]} has {name} of size {seen}, but those of {self.family.tasks[0].id} have {size}. "
                    "All tasks of a run share one size."
                )
        return episodes

    def segments(self, task_id: str) -> Segments:
        """All candidate segments of one tuned task."""
        number = list(self.prompt_tasks).index(task_id)
        known = ("family", "family_options", "segment_steps", "prompt_sampling", "validation_share", "seed")
        training = Training([self.hparams[name] for name in known], self.open_training)
        return Segments(self._prompt_episodes.of_task(number), self.hparams["segment_steps"], task_id, training)

    def open_training(self) -> Pool:
        """What is trained on, which is collected and mapped now if only candidates were asked for before."""
        self.prepare_data()
        self.setup()
        return self.training_pool

    def batch(self, update: int, rank: int = 0, world_size: int = 1) -> Batch:
        """This rank's share of the global batch of one update; sample i of it depends on (seed, update, i) alone.

        Where tasks are not drawn uniformly, it depends on what was measured at the end of the epoch before too.
        """
        size, seed = self.hparams["batch_size"], self.hparams["seed"]
        u = generator(seed, "batch", update).random((size, 1 + self.hparams["segments"]))
        pool, task = self.training_pool, self.task_sampling.draw(update, size)
        return draw(pool, pool, u, task, *self._rows, rank=rank, world_size=world_size)

    @property
    def _rows(self) -> tuple[int, bool]:
        return self.row_steps, self.hparams["attention"] == "window"

    def _fixed_batches(self, contexts: Pool, prompts: Pool, tasks: int, purpose: str) -> FixedBatches:
        count, seed = max(self.hparams["validation_windows"], tasks), self.hparams["seed"]
        rank, world_size = self._ranks()
        u = generator(seed, purpose).random((count, 1 + self.hparams["segments"]))
        task = np.arange(count) % tasks
        whole = draw(contexts, prompts, u, task, *self._rows, contexts is prompts, rank, world_size)
        return FixedBatches(whole, -(-count // (256 * world_size)))

    def _ranks(self) -> tuple[int, int]:
        return (self.trainer.global_rank, self.trainer.world_size) if self.trainer else (0, 1)

    def train_dataloader(self) -> DataLoader:
        """Whole batches, one an update."""
        check_ranks(self.hparams["batch_size"], self._ranks()[1])
        return DataLoader(UpdateStream(self.batch, self.hparams["updates_per_epoch"], self.trainer), batch_size=None)

    def val_dataloader(self) -> list[DataLoader]:
        """Validation episodes of the training tasks; then the demonstrations of the held-out tasks, logged apart."""
        known = self._fixed_batches(
            self.validation_pool, self.training_pool, len(self.training_tasks), "validation windows"
        )
        loaders = [DataLoader(known, batch_size=None)]
        if self.heldout_pool is not None:
            heldout = self._fixed_batches(
                self.heldout_pool, self.heldout_pool, len(self.heldout_tasks), "held-out windows"
            )
            loaders.append(DataLoader(heldout, batch_size=None))
        return loaders

    def validation_names(self) -> list[tuple[str, list[str]]]:
        """For each validation loader, its name and the ids of its tasks."""
        names = [("val", [task.id for task in self.training_tasks])]
        if self.heldout_pool is not None:
            names.append(("heldout", [task.id for task in self.heldout_tasks]))
        return names
