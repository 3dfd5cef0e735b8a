"""A ledger that is written down before anything is released, and a hospital's budget that no round may exceed."""

from dataclasses import dataclass

from clients.hospital import HospitalPrivacy
from clients.memory import LEDGER, Introduction, Memory, read_ledger
from common.errors import UserError
from common.privacy import Entry, Ledger, Plan, epsilon_of

TOLERANCE = 1e-6
"""Share of a budget by which rounding may exceed it."""


class BudgetSpentError(UserError):
    """A round would spend more than a hospital allows; nothing of it was trained or sent."""


@dataclass(frozen=True)
class Budget:
    """What one hospital may spend in one run.

    Attributes:
        owner: the hospital's name.
        privacy: its own section.
        introduction: what it planned when it joined, for so many rounds as were announced.
    """

    owner: str
    privacy: HospitalPrivacy
    introduction: Introduction

    @property
    def plan(self) -> Plan:
        """The plan that was made when the hospital joined; a budget is only for private clients."""
        assert self.introduction.plan is not None
        return self.introduction.plan

    def check_plan(self, others: list[Ledger]) -> None:
        """Refuse to join a run that cannot end within the budgets. Raises BudgetSpentError."""
        plan, rounds = self.plan, self.introduction.rounds
        if _exceeds(plan.epsilon, self.privacy.epsilon):
            raise BudgetSpentError(
                f"{self.owner}: noise of {plan.noise_multiplier:g} times the clip norm spends ε = {plan.epsilon:.3g} "
                f"over the announced {rounds} rounds, more than its budget privacy.epsilon = {self.privacy.epsilon:g}; "
                "it must raise the one or the other, or the server ask for fewer rounds under another name"
            )
        planned = Entry(1, plan.noise_multiplier, plan.sampling_rate, plan.steps_per_round * rounds)
        self._check_lifetime((planned,), others, "this run")

    def check(self, ledger: Ledger, others: list[Ledger]) -> None:
        """Refuse what would make the ledger so.

        Args:
            ledger: this run's, with what is about to be released.
            others: of the other runs in the same state.

        Raises:
            BudgetSpentError: the run's budget, or the one of all runs together, would be exceeded.
        """
        plan = self.plan
        spent = 0.0 if self._is_planned(ledger) else ledger.epsilon(plan.accountant, plan.delta)
        if _exceeds(spent, self.privacy.epsilon):
            raise BudgetSpentError(
                f"{self.owner}: this round would bring the run's ε to {spent:.3g}, above its budget "
                f"privacy.epsilon = {self.privacy.epsilon:g} for the {self.introduction.rounds} rounds that were "
                "announced; nothing was trained or sent, and only a run of another name has a budget of its own"
            )
        self._check_lifetime(ledger.entries, others, "this round")

    def _is_planned(self, ledger: Ledger) -> bool:
        """Tell whether the ledger is a part of a plan that keeps to the budget, and so keeps to it as well.

        Nothing is computed then: PRV takes up to seconds, and by its rounding a part could seem to exceed the whole.
        """
        plan = self.plan
        settings = {(entry.noise_multiplier, entry.sampling_rate) for entry in ledger.entries}
        steps = sum(entry.steps for entry in ledger.entries)
        return (
            settings <= {(plan.noise_multiplier, plan.sampling_rate)}
            and steps <= plan.steps_per_round * self.introduction.rounds
            and not _exceeds(plan.epsilon, self.privacy.epsilon)
        )

    def _check_lifetime(self, entries: tuple[Entry, ...], others: list[Ledger], what: str) -> None:
        limit = self.privacy.lifetime_epsilon
        if limit is None:
            return
        before = tuple(entry for ledger in others for entry in ledger.entries)
        total = epsilon_of((*before, *entries), self.privacy.accountant, self.privacy.delta)
        if _exceeds(total, limit):
            raise BudgetSpentError(
                f"{self.owner}: with its earlier runs {what} would bring its ε to {total:.3g}, above "
                f"privacy.lifetime_epsilon = {limit:g}; nothing was trained or sent"
            )


class KeptLedger(Ledger):
    """A client's ledger of one run.

    Args:
        memory: where it is kept; an entry is there before the first step of what it stands for, so that no crash
            forgets it.
        budget: of a hospital; None: none, as in a simulation, where the report tells what was spent.
    """

    def __init__(self, memory: Memory, budget: Budget | None = None) -> None:
        super().__init__(read_ledger(memory).entries)
        self._memory = memory
        self._budget = budget

    def spend(self, entry: Entry) -> None:
        """Enter a release and keep it, unless it repeats one. Raises BudgetSpentError: the budget does not allow it."""
        with self._memory.alone():
            after = read_ledger(self._memory)  # not ours: another process of this hospital may have added to it
            known = len(after.entries)
            after.spend(entry)
            if len(after.entries) > known:
                if self._budget is not None:
                    self._budget.check(after, self._memory.other_runs())
                self._memory.write(LEDGER, after.to_json())
            self._entries = after.entries

    def check_room(self, round: int) -> None:
        """Refuse a round that has no room in the budget, before anything is prepared for it.

        A round that has an entry already may be a repetition, which costs nothing: ``spend`` will tell.

        Raises:
            BudgetSpentError: the budget does not allow one more round.
        """
        if self._budget is None or any(entry.round == round for entry in self._entries):
            return
        plan = self._budget.plan
        entry = Entry(round, plan.noise_multiplier, plan.sampling_rate, plan.steps_per_round)
        self._budget.check(Ledger((*self._entries, entry)), self._memory.other_runs())


def _exceeds(epsilon: float, budget: float) -> bool:
    return epsilon > budget * (1 + TOLERANCE)
