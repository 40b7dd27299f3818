"""Cases that are a function of their own, or that borrow the loops of another case."""

from dataclasses import dataclass

from benchmarks.scenarios import Case, Unit


@dataclass(frozen=True)
class Work:
    """One line of the results: what is done, by whom, and how much of it in a full run.

    `function` is called with the contender, the amount and a name for what it creates. A case of
    two queues against each other has none: `queue_case` says whose loops run.
    """

    scenario: str
    variant: str
    title: str
    unit: Unit
    peers: tuple
    amount: int = 0
    least: int = 0
    function: object = None
    queue_case: Case | None = None
    needs: str | None = None
    payload: str = "int"
    producers: int = 1
    consumers: int = 1
    share: float = 1.0

    @property
    def key(self):
        return f"{self.scenario}/{self.variant}"

    @property
    def is_calibrated(self):
        return self.queue_case is not None

    @property
    def first_count(self):
        return self.queue_case.first_count

    @property
    def count_multiple(self):
        return 1

    def fixed_amount(self, share):
        """How much a run does that has this share of the full run's time; None: is calibrated."""
        return max(self.least, round(self.amount * share)) if self.amount else None
