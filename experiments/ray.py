"""The Ray runner: simulated clients on all cores, the server in this process; the same bytes as in one process.

A round's weights lie in Ray's store once, however many clients read them; replies are handed on as they come, so that
the server checks and scores one while others train. A worker process opens the data once and serves any client.
"""

import os
import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from copy import copy
from itertools import islice
from pathlib import Path
from typing import Any

from flwr.app import ArrayRecord, Context, Error, Message, RecordDict
from flwr.clientapp import ClientApp
from flwr.serverapp import Grid
from flwr.supercore.task_identity import TaskIdentity

from experiments.inprocess import CLIENT_FAILED, InProcessGrid, answer
from experiments.ray_session import ray_session
from experiments.study.machine import available_cores
from experiments.study.worker import end_with_parent, in_a_line

ROOT = Path(__file__).resolve().parent.parent
"""Where this code was imported from; Ray's workers must import the same."""
AHEAD = 2
"""Messages that are on their way for each worker: one that it answers, one that waits for it."""
WEIGHTS = 2**26
"""Bytes of a model, where nobody says; ResNet-18 has 45 million."""


def simulate(client_app: ClientApp, clients: int, serve: Callable[[Grid], None], *, weights: int = WEIGHTS) -> None:
    """Call ``serve(grid)`` with a grid of ``clients`` simulated nodes, one core each.

    Args:
        client_app: what every node runs.
        clients: how many nodes.
        serve: the server's work; what it raises is raised here.
        weights: bytes of the model, of which Ray's store holds a few; what does not fit goes to disk.

    Raises:
        UserError: Ray is not installed, or could not start.
    """
    workers = max(1, min(available_cores(), clients))
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    objects = min(2 * (workers * AHEAD + 2) * weights, memory // 4)
    with ray_session(workers, objects=objects, instead="use --runner inprocess") as ray:
        serve(RayGrid(ray, client_app, clients, workers=workers))


class RayGrid(InProcessGrid):
    """Has each message answered by some worker of Ray; a client whose worker dies has failed, and the rest goes on.

    Args:
        ray: a session of ``ray_session``.
        client_app: as for ``InProcessGrid``.
        clients: how many; ids as there.
        workers: how many answer at once.
        clock: seconds, for tests.
    """

    def __init__(
        self,
        ray: Any,
        client_app: ClientApp,
        clients: int,
        *,
        workers: int,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        super().__init__(client_app, clients, [{"in-process": False}] * clients)
        self._ray, self._workers, self._clock = ray, workers, clock
        # Never tried again by itself: a private client that is asked twice may spend twice.
        self._remote = ray.remote(max_retries=0, num_cpus=1, num_gpus=0)(_remote_answer())
        self._stored_app = ray.put(client_app)

    def _answers(self, messages: Sequence[Message], timeout: float | None) -> Iterator[Message]:
        """Yield replies as they come.

        Whoever has not answered ``timeout`` seconds after a worker was free for it is ended, and there is no reply. Ray
        takes what it is given in its order, so of the messages under way the oldest are those that workers answer; the
        time of whoever waits behind a slow one does not run.
        """
        waiting, under_way, begun = deque(messages), dict[Any, Message](), dict[Any, float]()
        stored: dict[int, tuple[ArrayRecord, Any]] = {}
        try:
            while waiting or under_way:
                while waiting and len(under_way) < AHEAD * self._workers:
                    message = waiting.popleft()
                    under_way[self._send(message, stored)] = message
                answered = list(islice(under_way, self._workers))
                now = self._clock()
                oldest = min(begun.setdefault(reference, now) for reference in answered)
                left = None if timeout is None else max(0.0, oldest + timeout - now)
                done, _ = self._ray.wait(list(under_way), timeout=left)
                for reference in done:
                    yield self._reply(reference, under_way.pop(reference))
                if done or timeout is None:  # more replies may have come while this one was scored
                    continue
                for reference in answered:
                    if self._clock() - begun[reference] >= timeout:
                        del under_way[reference]
                        self._ray.cancel(reference, force=True)
        finally:
            for reference in under_way:
                self._ray.cancel(reference, force=True)

    def _send(self, message: Message, stored: dict[int, tuple[ArrayRecord, Any]]) -> Any:
        """Have a message answered; ``stored`` are the arrays that lie in Ray's store already, by their identity."""
        content, arrays = message.content, dict[str, Any]()
        for name, record in content.array_records.items():
            if id(record) not in stored:
                stored[id(record)] = record, self._ray.put(record)
            arrays[name] = stored[id(record)][1]
        light = copy(message)
        light.content = RecordDict({name: record for name, record in content.items() if name not in arrays})
        # In a list and a table references stay what they are: the worker looks for our code before it reads the app.
        context = self._contexts[message.metadata.dst_node_id]
        return self._remote.remote(str(ROOT), [self._stored_app], light, arrays, context)

    def _reply(self, reference: Any, message: Message) -> Message:
        try:
            reply, state = self._ray.get(reference)
        except self._ray.exceptions.RayTaskError as error:  # the worker lives on
            return Message(Error(CLIENT_FAILED, in_a_line(error.cause)), reply_to=message)
        except self._ray.exceptions.OutOfMemoryError:
            return Message(Error(CLIENT_FAILED, "its worker was ended for lack of memory"), reply_to=message)
        except self._ray.exceptions.RayError as error:
            return Message(Error(CLIENT_FAILED, f"its worker was lost ({in_a_line(error)})"), reply_to=message)
        self._contexts[message.metadata.dst_node_id].state = state
        return reply  # type: ignore[no-any-return]


_kept: dict[str, Any] = {}
"""Of a worker: the ClientApp and the arrays that it used last, by what they are called in Ray's store."""


def answer_here(
    app: Any, message: Message, arrays: dict[str, Any], context: Context, get: Callable[[Any], Any]
) -> tuple[Message, RecordDict]:
    """Answer a message in a worker process; return the reply and the client's state.

    Args:
        app: where the ClientApp lies in Ray's store.
        message: without its arrays.
        arrays: where these lie, by the record's name; clients of a round share them.
        context: of the client that it is for.
        get: Ray's function that reads what lies in its store.
    """
    end_with_parent()
    TaskIdentity.run_id, TaskIdentity.node_id, TaskIdentity.task_id = 1, 0, 1
    wanted = {reference.hex(): reference for reference in (app, *arrays.values())}
    for old in _kept.keys() - wanted.keys():
        del _kept[old]
    for name, reference in wanted.items():
        if name not in _kept:
            _kept[name] = get(reference)
    # A client may take arrays out of its record, but the next one shall find them.
    records = {name: ArrayRecord(dict(_kept[reference.hex()])) for name, reference in arrays.items()}
    message.content = RecordDict({**message.content, **records})
    return answer(_kept[app.hex()], message, context), context.state


def _remote_answer() -> Callable[..., Any]:
    """Return the function that a worker runs. Ray sends its code, and not where to import it from.

    A worker has the folders of the caller first on its path, and would import a neighbour's ``common`` from there; so
    its arguments are made of Flower's classes alone.
    """

    def remote_answer(root: str, app: list[Any], message: Any, arrays: dict[str, Any], context: Any) -> Any:
        import sys

        import ray

        if sys.path[0] != root:
            sys.path.insert(0, root)
        from experiments.ray import answer_here

        return answer_here(app[0], message, arrays, context, ray.get)

    return remote_answer
