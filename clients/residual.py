"""What int8 compression of a client's updates lost, kept until its next update.

An update may be refused, come too late, or be lost with a server that stops, and its client cannot tell. So the server
says with each request in which round this client's update last counted, and the client keeps the residuals of that
round and of the newest. An update that did not count leaves no trace: the next one is compressed as if it had never
been, and a round that is repeated gives the same bits.

A residual derives from what the client sent (see ``common/update_compression.py``), so a private client's costs
nothing. It is not worth a run: one that is lost counts as zero, and the server misses half a step.
"""

from collections.abc import Mapping
from logging import WARNING

from flwr.common.logger import log
from torch import Tensor

from clients.memory import Memory
from common.errors import UserError
from common.update_compression import compress

RESIDUAL = "residual.safetensors"
"""Name of what is remembered: tensors called ROUND/NAME, of at most two rounds."""


def compress_update(
    sent: Mapping[str, Tensor], received: Mapping[str, Tensor], memory: Memory, *, round: int, counted: int
) -> dict[str, Tensor]:
    """Return the compressed update of this round, and remember what it lost.

    Args:
        sent: the weights that the client would send, name → tensor on the CPU.
        received: the round's global weights.
        memory: what this client remembers of the run.
        round: the round that it trained for, from 1.
        counted: the round in which its update last counted; 0: none has.

    Returns:
        As ``common.update_compression.compress``: names and shapes of its ``template``.

    Raises:
        UserError: weights that cannot be compressed, or a memory that cannot be written.
    """
    last = _remembered(memory, counted)
    try:
        update, lost = compress(sent, received, last)
    except ValueError as error:
        raise UserError(f"federation.update_compression = 'int8': {error}; set it to 'none'") from None
    memory.write_arrays(RESIDUAL, _of_round(counted, last) | _of_round(round, lost))
    return update


def _remembered(memory: Memory, round: int) -> dict[str, Tensor]:
    try:
        kept = memory.read_arrays(RESIDUAL)
    except UserError as error:
        log(WARNING, "psreval: what compression lost before is not known any more: %s", error)
        return {}
    prefix = f"{round}/"
    return {name.removeprefix(prefix): array for name, array in kept.items() if name.startswith(prefix)}


def _of_round(round: int, arrays: Mapping[str, Tensor]) -> dict[str, Tensor]:
    return {f"{round}/{name}": array for name, array in arrays.items()}
