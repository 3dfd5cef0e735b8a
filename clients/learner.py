"""A client of a federation without a server: the same strategies, the same ledger, and an optimiser that is kept."""

import time
from pathlib import Path

from clients.holding import Holding
from clients.honest import Honest, StrategyError
from clients.image_facts import ImageFacts
from clients.local_update import introduced, ledger_of, local_update
from clients.memory import InFolder, Introduction, Memory, run_key
from clients.model_trial import refuse_unfit_model
from clients.place import Place
from clients.strategies import build_strategy
from common.config import Experiment
from common.errors import UserError
from common.local_update import Failed, Job, Learned
from common.optimizer_state import KeptOptimizer
from common.threads import torch_threads


class Learner:
    """Trains for one peer: what comes of a job depends on the job alone.

    The privacy ledger is kept on disk besides; a job that is done again enters nothing new in it.
    """

    def __init__(self, place: Place, images: ImageFacts, updates: int) -> None:
        """Take a peer's place in a run.

        Args:
            place: who it is, its records and its memory.
            images: what all peers' images are like.
            updates: local updates that it will make: what its noise is planned for, if it trains privately.
        """
        federation = place.experiment.federation.model_copy(update={"rounds": updates})
        own = place.experiment.model_copy(update={"federation": federation})
        self.place = Place(own, place.client, place.number, place.holding, place.memory, place.hospital)
        self._images = images

    def introduce(self) -> Introduction:
        """Return how the peer takes part, as it has said before or says now. Raises UserError as ``introduced``."""
        return introduced(self.place)

    def strategy(self) -> Honest:
        """Return the peer's strategy, without a setting. Raises UserError as ``build_strategy``."""
        return build_strategy(self.place.client)

    def learn(self, job: Job) -> Learned | Failed:
        """Do one local update; a mistake or a training that diverges is told in one sentence, never raised."""
        started = time.monotonic()
        introduction, settings = self.introduce(), self.place.experiment
        kept = KeptOptimizer(dict(job.optimizer)) if settings.peers.keep_optimizer else None
        try:
            with torch_threads(settings.federation.threads):
                work = local_update(
                    self.place,
                    introduction,
                    self.place.model(self._images),
                    dict(job.arrays),
                    round=job.version,
                    classes=len(self._images.classes),
                    optimizer=kept,
                )
        except UserError as error:
            why = self._why(error, introduction, job)
            return Failed(why, ledger_of(self.place, introduction).to_json(), _since(started))
        return Learned(
            arrays=work.arrays,
            sent=work.sent,
            records=work.examples,
            metrics=work.metrics,
            ledger=work.ledger.to_json(),
            optimizer={} if kept is None else kept.tensors,
            seconds=_since(started),
        )

    def _why(self, error: UserError, introduction: Introduction, job: Job) -> str:
        """Return what others may hear of a failure: of a strategy's own words only what is said of the model, too."""
        if (
            introduction.plan is not None
            and isinstance(error, StrategyError)
            and isinstance(error.__cause__, UserError)
        ):
            try:
                refuse_unfit_model(self.place, self._images, introduction.plan, dict(job.arrays))
            except UserError as refusal:
                return str(refusal)
            except Exception:  # what else goes wrong there explains nothing, and must not end the peer
                return str(error)
        return str(error)


def simulated_learner(
    experiment: Experiment, number: int, holding: Holding, images: ImageFacts, state: Path, updates: int
) -> Learner:
    """Return who trains for a peer that the description alone describes.

    Args:
        experiment: the description.
        number: of the peer, from 0.
        holding: its records.
        images: what the run's images are like.
        state: the folder in which the peers keep their ledgers, each in one of its own.
        updates: as for ``Learner``.
    """
    client = experiment.roster()[number]
    memory: Memory = InFolder(state / str(client.name), run_key(experiment, hospital=False))
    return Learner(Place(experiment, client, number, holding, memory, None), images, updates)


def _since(started: float) -> float:
    return round(time.monotonic() - started, 3)
