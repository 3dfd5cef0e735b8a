"""A hospital's own file: what it does, with which data, how privately; a server cannot change any of it."""

import functools
import json
import math
from pathlib import Path, PurePosixPath
from typing import Annotated, Any

import tomli_w
from pydantic import Field, field_validator, model_validator

from common.config import Experiment
from common.data import partition, prepare
from common.description import AdversarialTraining, Client, Data, Privacy
from common.folder import write_text
from common.loading import is_reference
from common.privacy import calibrate
from common.section import Section, validated
from common.toml_file import read_toml
from common.tree import resolve


class HospitalPrivacy(Privacy):
    """A hospital's own DP-SGD; as in an experiment, but for two things.

    ``epsilon`` is a budget: before a round would spend more of it, the hospital refuses to train. And noise comes from
    the operating system unless the file says otherwise, since the server knows every seed of the experiment.
    """

    secure_noise: bool = True
    lifetime_epsilon: Annotated[float, Field(gt=0)] | None = None
    """A budget for all runs together whose ledgers lie in ``state``, by composition; None: each run by itself."""

    @model_validator(mode="after")
    def _one_run_fits(self) -> "HospitalPrivacy":
        if self.lifetime_epsilon is not None and self.lifetime_epsilon < self.epsilon:
            raise ValueError(
                f"lifetime_epsilon = {self.lifetime_epsilon:g} is below epsilon = {self.epsilon:g}, which one run may "
                "spend; raise the one or lower the other"
            )
        return self


class Hospital(Section):
    """Who takes part for a hospital; see docs/deployment.md for a whole file."""

    name: Annotated[str, Field(pattern=r"^[A-Za-z0-9_][A-Za-z0-9 _.-]{0,39}$")]
    """As the server's description names this client; its place there is the client's number."""
    data: Data
    """This hospital's records: the training images of this source. They never leave."""
    strategy: str = "honest"
    options: dict[str, Any] = Field(default_factory=dict)
    adversarial_training: AdversarialTraining | None = None
    privacy: HospitalPrivacy = HospitalPrivacy()
    state: Path = Path("state")
    """Folder of the privacy ledgers, one folder a run; whoever loses it loses what has been spent. Back it up."""
    share: tuple[int, int] | None = None
    """(part, parts): of ``data``, split as in an experiment, what ``data.partition`` gives to one of so many clients,
    counted from 0. None: all training images."""
    code: tuple[str, ...] = ()
    """``file.py:function`` of each model that a server may name besides the built-in ones."""

    @field_validator("share")
    @classmethod
    def _part_of_parts(cls, share: tuple[int, int] | None) -> tuple[int, int] | None:
        if share is not None and not 0 <= share[0] < share[1]:
            raise ValueError(f"is not a part, counted from 0, of {share[1]}; write [0, 3] for the first of three")
        return share

    @field_validator("code")
    @classmethod
    def _references(cls, code: tuple[str, ...]) -> tuple[str, ...]:
        names = [local_name(reference) for reference in code]
        for reference in code:
            if not is_reference(reference):
                raise ValueError(f"'{reference}' does not have the form 'file.py:function'")
            if names.count(local_name(reference)) > 1:
                raise ValueError(f"names {local_name(reference)} twice; a server could mean either")
        return code

    @classmethod
    def of(
        cls,
        experiment: Experiment,
        client: Client,
        *,
        data: Data | None = None,
        share: tuple[int, int] | None = None,
        state: str | Path = "state",
    ) -> "Hospital":
        """Return the hospital that does what ``client`` of the description would do in a simulation.

        With a given ``privacy.noise_multiplier`` its budget is ε of the description, or what follows from that noise if
        that is more: nothing refuses it in a simulation. The description's data are then prepared, to count records.

        Args:
            experiment: the description; its model's own file, if it has one, is allowed.
            client: one of its roster.
            data: the hospital's own; None: the description's, of which ``share`` names the client's part.
            share, state: as in the file.

        Raises:
            UserError: with a given noise multiplier, as ``common.data.prepare`` and ``common.privacy.calibrate``.
        """
        private = experiment.is_private(client)
        epsilon = experiment.privacy.epsilon
        if private and experiment.privacy.noise_multiplier is not None:
            epsilon = max(epsilon, _following_epsilon(experiment, client))
        return cls(
            name=str(client.name),
            data=data or experiment.data,
            strategy=client.strategy,
            options=client.options,
            adversarial_training=client.adversarial_training,
            privacy=HospitalPrivacy(**{**dict(experiment.privacy), "enabled": private, "epsilon": epsilon}),
            state=Path(state),
            share=share,
            code=(experiment.model.name,) if is_reference(experiment.model.name) else (),
        )

    def client(self) -> Client:
        """Return the part that is like a ``[[clients]]`` entry of an experiment."""
        return Client(
            name=self.name,
            strategy=self.strategy,
            options=self.options,
            adversarial_training=self.adversarial_training,
        )

    def allowed(self, reference: str) -> str | None:
        """Return this hospital's own file and function of the same names, None if it allows no such."""
        return next((own for own in self.code if local_name(own) == local_name(reference)), None)


def load_hospital(path: str | Path) -> Hospital:
    """Read a hospital's file; paths in it are relative to its folder.

    Raises:
        UserError: missing or malformed file, unknown key, value out of range.
    """
    file = Path(path).expanduser()
    tree = read_toml(file, "hospital")
    return validated(Hospital, resolved_hospital(tree, file.parent), str(file))


def write_hospital(path: Path, hospital: Hospital) -> None:
    """Write a hospital's file; ``load_hospital`` reads it back. Raises UserError: it cannot be written."""
    write_text(path, hospital_toml(json.loads(hospital.model_dump_json(exclude_none=True))))


def hospital_toml(tree: dict[str, Any]) -> str:
    """Return a hospital's values as the text of its file."""
    return (
        f"# What {tree['name']} does, with which records, how privately. A server cannot change it.\n"
        + tomli_w.dumps(tree)
    )


def local_name(reference: str) -> str:
    """Return ``file.py:object`` without the folders that lead to it; other text as it is."""
    if not is_reference(reference):
        return reference
    path, _, name = reference.rpartition(":")
    return f"{PurePosixPath(path).name}:{name}"


def _following_epsilon(experiment: Experiment, client: Client) -> float:
    """Return the ε after all rounds of a client whose noise is given, rounded up to hundredths."""
    names = [other.name for other in experiment.roster()]
    plan = calibrate(
        experiment.privacy,
        records=_share_sizes(experiment.data.model_dump_json(), len(names))[names.index(client.name)],
        batch_size=experiment.training.batch_size,
        local_epochs=experiment.training.local_epochs,
        rounds=experiment.federation.rounds,
    )
    return math.ceil(plan.epsilon * 100) / 100


@functools.lru_cache(maxsize=4)
def _share_sizes(data: str, parts: int) -> tuple[int, ...]:
    described = Data.model_validate_json(data)
    return tuple(len(share) for share in partition(prepare(described).train.strata, parts, described))


def resolved_hospital(tree: dict[str, Any], base: Path) -> dict[str, Any]:
    """Return a hospital file's values with absolute paths; ``base`` is the folder that relative ones start from."""
    own = {"strategy", "options", "adversarial_training"} & tree.keys()  # keys that an experiment has, too
    resolved: dict[str, Any] = tree | resolve({key: tree[key] for key in own}, base, "clients")
    if "data" in tree:
        resolved["data"] = resolve(tree["data"], base, "data")
    if "code" in tree:
        resolved["code"] = resolve(tree["code"], base, "model.name")
    state = tree.get("state", "state")
    resolved["state"] = str((base / Path(state).expanduser()).resolve()) if isinstance(state, str) else state
    return resolved
