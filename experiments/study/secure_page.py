"""What became of the claims about poisoners and cheating aggregators, as Markdown: same cells, same bytes."""

from collections.abc import Callable, Sequence

from experiments.study.braintorrent_page import RULES
from experiments.study.claims import judge
from experiments.study.claims_page import whole_page
from experiments.study.claims_secure import SECURE_CLAIMS
from experiments.study.results import Result

CAVEATS = """
- All repeats share one partition and one test split: the intervals tell the luck of initial weights and of batches, not
  that of who holds what. They are Student's t over few repeats, and wide.
- Poisoners are the same clients in every protocol, and cheating peers are as many. What they do is not alike: a server
  that cheats changes the result itself; BrainTorrent's peers give away wrong models; the secure protocol's deal and
  open wrong numbers, which is all that it leaves them.
- Within the secure protocol who cheats is named in the first round and excluded. What is lost is what its records would
  have taught, and that is counted as a loss here.
- Beyond f cheaters the secure protocol promises no result, and aborts; that is not tried here.
- BrainTorrent's score is that of the aggregated model, the cheaters' models among the others. Its honest peers' own
  models are in the table.
- A vote or a clipped update of each weight learns more slowly than a mean. With as many rounds for all, a part of what
  the secure rules lose is speed.
- A rule that withstands what was tried here may fall to an attack made against it.
""".strip()


def secure_page(results: Sequence[Result], scale: str, command: Callable[[str], str], *, level: str = "##") -> str:
    """Return the verdicts with everything that belongs to them.

    Args:
        results: finished cells of all studies of poisoners and cheating aggregators.
        scale: the scale's name and description, as the study file has them.
        command: the name of a study → the command that runs it.
        level: what a heading begins with.
    """
    verdicts = judge(results, {}, command, SECURE_CLAIMS)
    return whole_page(verdicts, results, scale, RULES, CAVEATS, level)
