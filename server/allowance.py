"""The allowance: how many bytes each node may send between two messages of the server, and in whose name."""

import threading

from fastapi import Request
from fastapi.responses import JSONResponse, Response
from flwr.proto.fleet_pb2 import PushMessagesRequest
from flwr.proto.message_pb2 import PushObjectRequest
from starlette.middleware.base import BaseHTTPMiddleware, RequestResponseEndpoint

from server.front_door import FLEET

ANNOUNCEMENTS = 16
"""Replies that a node may announce at most for one message: one, and some more after a broken connection."""


class Allowance:
    """What each node may still send; a message to a node grants it the limit anew, and nothing else does.

    Args:
        reply: bytes of one reply: the model, its names and headers, with room to spare. A node may send it twice, since
            a connection may break at its end.
    """

    def __init__(self, reply: int) -> None:
        self.limit = self.unpacked_limit = 2 * reply
        self._left: dict[int, int] = {}
        self._announced: dict[int, int] = {}
        self._lock = threading.Lock()

    def grant(self, node: int) -> None:
        """Let a node send one reply."""
        with self._lock:
            self._left[node] = self.limit
            self._announced[node] = 0

    def announce(self, node: int, size: int) -> bool:
        """Count the announcement of a reply, for each makes Flower keep an account of what is to come; as ``spend``."""
        with self._lock:
            self._announced[node] = self._announced.get(node, 0) + 1
            if self._announced[node] > ANNOUNCEMENTS:
                self._left[node] = -1
        return self.spend(node, size)

    def spend(self, node: int, size: int) -> bool:
        """Take bytes off a node's allowance; False: it has sent more than it may, and stays so until the next grant."""
        with self._lock:
            left = self._left.get(node, 0) - size
            self._left[node] = max(left, -1)
            return left >= 0

    def is_exceeded(self, node: int) -> bool:
        """Tell whether a node has tried to send more than it may."""
        with self._lock:
            return self._left.get(node, 0) < 0


class AllowanceLayer(BaseHTTPMiddleware):
    """Answers 413 to what exceeds a node's allowance, 403 to what it sends in another's name.

    It stands behind Flower's authentication, so the node is known. That compares the request's sender with its key, and
    not the message's: without this layer a node could answer for another, or order it to stop in the server's name.
    """

    async def dispatch(self, request: Request, call_next: RequestResponseEndpoint) -> Response:
        """Count a push, then let it pass or not."""
        if request.url.path.startswith(FLEET):
            message = getattr(request.state, "protobuf_request", None)
            allowance: Allowance = request.app.state.allowance
            if isinstance(message, PushMessagesRequest) and not _is_own_reply(message):
                return JSONResponse({"message": "not one reply of this node's own"}, status_code=403)
            if isinstance(message, PushObjectRequest | PushMessagesRequest):
                count = allowance.announce if isinstance(message, PushMessagesRequest) else allowance.spend
                if not count(message.node.node_id, message.ByteSize()):
                    return JSONResponse({"message": "more than this node may send"}, status_code=413)
        return await call_next(request)


def _is_own_reply(request: PushMessagesRequest) -> bool:
    """Tell whether a request brings one reply, from the node that sends it, and the tree of its parts."""
    if len(request.messages_list) != 1 or len(request.message_object_trees) != 1:
        return False
    metadata = request.messages_list[0].metadata
    named = request.message_object_trees[0].object_id == metadata.message_id
    return bool(metadata.reply_to_message_id) and metadata.src_node_id == request.node.node_id and named
