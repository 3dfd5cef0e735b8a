"""The parts of messages, kept so that what a part contains is read from the part and not from whoever announced it.

Flower's store believes the tree of parts that a node announces. Parts are named by their content, and everybody's lie
in one store: a node that announces the server's next settings with a part below them that never comes keeps every other
node from reading the next message; a tree in which each part names the one below forty times takes hours to walk; and
what was announced and never sent stays to the end of the run.
"""

from collections.abc import Iterable

from flwr.supercore.inflatable.inflatable_object import get_object_children_ids_from_object_content
from flwr.supercore.object_store import NoObjectInStoreError
from flwr.supercore.object_store.in_memory_object_store import InMemoryObjectStore


class LinkStore(InMemoryObjectStore):
    """Flower's store in memory, but for what it believes."""

    def put(self, object_id: str, object_content: bytes) -> None:
        """Keep an announced part; from now on what lies below it is what it says itself.

        Raises:
            ValueError: the content is not what the name says, or no part of a message.
            NoObjectInStoreError: it, or a part that it contains, was not announced.
        """
        contained = get_object_children_ids_from_object_content(object_content)
        with self.lock_store:
            entry = self.store.get(object_id)
            if entry is not None and not entry.is_available and not all(part in self.store for part in contained):
                raise NoObjectInStoreError(f"Object with ID '{object_id}' contains what was not pre-registered.")
            super().put(object_id, object_content)
            if entry is not None:
                claimed, entry.child_object_ids = entry.child_object_ids, contained
                self._count(contained, 1)
                self._count(claimed, -1)

    def delete(self, object_id: str) -> None:
        """Forget a part and all below it that nothing else contains; unlike Flower's, to any depth."""
        with self.lock_store:
            waiting = [object_id]
            while waiting:
                identity = waiting.pop()
                entry = self.store.get(identity)
                if entry is None or entry.ref_count > 0:
                    continue
                self._drop(identity)
                self._count(entry.child_object_ids, -1)
                waiting += entry.child_object_ids

    def parts_of(self, object_id: str) -> dict[str, bytes] | None:
        """Return a message's parts by name, each once, however often it is contained; None: not all are there yet.

        Raises:
            NoObjectInStoreError: a part is missing that was never announced, or is gone again.
        """
        parts: dict[str, bytes] = {}
        with self.lock_store:
            waiting = [object_id]
            while waiting:
                identity = waiting.pop()
                if identity in parts:
                    continue
                entry = self.store.get(identity)
                if entry is None:
                    raise NoObjectInStoreError(f"Object with ID '{identity}' was not pre-registered.")
                if not entry.is_available:
                    return None
                parts[identity] = entry.content
                waiting += entry.child_object_ids
        return parts

    def keep_only(self, messages: Iterable[str]) -> None:
        """Forget every part that none of these messages contains, also what was announced and never came."""
        with self.lock_store:
            kept: set[str] = set()
            waiting = list(messages)
            while waiting:
                identity = waiting.pop()
                if identity not in kept and identity in self.store:
                    kept.add(identity)
                    waiting += self.store[identity].child_object_ids
            for identity in self.store.keys() - kept:
                self._drop(identity)
            for entry in self.store.values():
                entry.ref_count = 0
            for entry in self.store.values():
                self._count(entry.child_object_ids, 1)

    def _count(self, parts: Iterable[str], change: int) -> None:
        for part in parts:
            if part in self.store:
                self.store[part].ref_count += change

    def _drop(self, identity: str) -> None:
        for run in self.store.pop(identity).runs:
            self.run_objects_mapping.get(run, set()).discard(identity)
