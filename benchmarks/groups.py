"""The groups of cases, each with the contenders that it compares."""

from dataclasses import dataclass

from benchmarks import dropins, large, peers, scenarios, streams


@dataclass(frozen=True)
class Group:
    """Cases that are measured, reported and chosen together."""

    key: str
    cases: tuple
    peers: tuple

    def peers_of(self, case):
        """The contenders that a case compares: all of the group, unless it names its own."""
        wanted = getattr(case, "peers", None)
        return [p for p in self.peers if wanted is None or p.key in wanted]


GROUPS = (
    Group("queues", scenarios.CASES, peers.PEERS),
    Group("dropins", dropins.CASES, dropins.PEERS),
    Group("large", large.CASES, large.PEERS),
    Group("streams", streams.CASES, streams.PEERS),
)


def find(case_key, peer_key):
    """The case and the contender that a request names.

    Raises
    ------
    ValueError
        If there is no such case, or none of its contenders is called so.
    """
    for group in GROUPS:
        for case in group.cases:
            if case.key == case_key:
                for peer in group.peers_of(case):
                    if peer.key == peer_key:
                        return case, peer
    raise ValueError(f"there is no case {case_key!r} with a contender {peer_key!r}")
