"""Parts of messages by hand: what was announced, what came, what is left."""

import hashlib

import pytest
from flwr.proto.message_pb2 import ObjectTree
from flwr.supercore.object_store import NoObjectInStoreError
from hypothesis import given
from hypothesis import strategies as st

from server.link_store import LinkStore

RUN = 1


def part(*below: bytes, body: bytes = b"") -> bytes:
    """An object as Flower sends it, that contains others."""
    names = ",".join(name(other) for other in below)
    return f"RecordDict {names} {len(body)}".encode() + b"\0" + body


def name(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


def tree(root: str, *below: ObjectTree | str) -> ObjectTree:
    children = [child if isinstance(child, ObjectTree) else ObjectTree(object_id=child) for child in below]
    return ObjectTree(object_id=root, children=children)


LEAF = part(body=b"leaf")
MESSAGE = part(LEAF, body=b"message")
NEVER = name(b"never")


def test_a_message_is_whole_when_all_its_parts_have_come() -> None:
    store = LinkStore()
    store.preregister(RUN, tree(name(MESSAGE), name(LEAF)))
    store.put(name(MESSAGE), MESSAGE)
    assert store.parts_of(name(MESSAGE)) is None
    store.put(name(LEAF), LEAF)
    assert store.parts_of(name(MESSAGE)) == {name(MESSAGE): MESSAGE, name(LEAF): LEAF}
    with pytest.raises(NoObjectInStoreError):
        store.parts_of(NEVER)


def test_what_a_part_contains_is_what_it_says_and_not_what_was_announced() -> None:
    store = LinkStore()
    store.preregister(RUN, tree(name(b"another"), tree(name(LEAF), NEVER)))  # a node poisons what another will send
    store.preregister(RUN, tree(name(MESSAGE), name(LEAF)))
    store.put(name(LEAF), LEAF)
    store.put(name(MESSAGE), MESSAGE)
    assert store.get_object_tree(name(MESSAGE)) == tree(name(MESSAGE), name(LEAF))
    assert store.parts_of(name(MESSAGE)) == {name(MESSAGE): MESSAGE, name(LEAF): LEAF}


def test_a_part_that_contains_what_nobody_announced_is_not_kept() -> None:
    store = LinkStore()
    store.preregister(RUN, tree(name(MESSAGE)))
    with pytest.raises(NoObjectInStoreError):
        store.put(name(MESSAGE), MESSAGE)
    assert store.get(name(MESSAGE)) == b""


def test_what_was_announced_without_end_is_walked_and_forgotten_in_no_time() -> None:
    store = LinkStore()
    below = name(b"0")
    store.preregister(RUN, tree(below))
    for level in range(1, 60):  # each names the one below forty times: 40 ** 59 leaves
        root = name(str(level).encode())
        store.preregister(RUN, tree(root, *[below] * 40))
        below = root
    assert store.parts_of(below) is None
    store.delete(below)
    assert len(store) == 0


def test_a_chain_longer_than_the_stack_is_forgotten() -> None:
    store = LinkStore()
    below = name(b"0")
    store.preregister(RUN, tree(below))
    for level in range(1, 5000):
        root = name(str(level).encode())
        store.preregister(RUN, tree(root, below))
        below = root
    store.delete(below)
    assert len(store) == 0


def test_a_part_of_two_messages_stays_until_the_second_is_forgotten() -> None:
    store, other = LinkStore(), part(LEAF, body=b"other")
    for message in (MESSAGE, other):
        store.preregister(RUN, tree(name(message), name(LEAF)))
        store.put(name(message), message)
    store.put(name(LEAF), LEAF)
    store.delete(name(LEAF))  # is contained
    store.delete(name(MESSAGE))
    assert store.parts_of(name(other)) == {name(other): other, name(LEAF): LEAF}
    store.delete(name(other))
    assert len(store) == 0


def test_only_what_the_named_messages_contain_is_kept() -> None:
    store = LinkStore()
    store.preregister(RUN, tree(name(MESSAGE), name(LEAF)))
    store.put(name(LEAF), LEAF)
    store.put(name(MESSAGE), MESSAGE)
    store.preregister(RUN, tree(name(b"orphan"), tree(name(b"orphan below"), name(LEAF))))
    store.keep_only([name(MESSAGE), NEVER])
    assert set(store.store) == {name(MESSAGE), name(LEAF)}
    assert store.parts_of(name(MESSAGE)) is not None
    store.delete(name(MESSAGE))
    assert len(store) == 0


@given(
    st.lists(st.tuples(st.integers(0, 5), st.sampled_from(["announce", "lie", "put", "delete", "keep"])), max_size=40)
)
def test_whatever_others_do_a_message_that_was_put_whole_is_read_whole(steps: list[tuple[int, str]]) -> None:
    contents = [part(body=bytes([number])) for number in range(3)]
    contents += [part(contents[0], contents[1], body=b"3"), part(contents[1], contents[2], body=b"4")]
    contents.append(part(contents[3], contents[4], body=b"5"))
    below = {3: (0, 1), 4: (1, 2), 5: (3, 4)}

    def truth(number: int) -> ObjectTree:
        return tree(name(contents[number]), *(truth(child) for child in below.get(number, ())))

    store = LinkStore()
    for number, step in steps:
        identity = name(contents[number])
        if step == "announce":
            store.preregister(RUN, truth(number))
        elif step == "lie":
            store.preregister(RUN, tree(name(b"liar"), tree(identity, NEVER)))
        elif step == "put":
            try:
                store.put(identity, contents[number])
            except NoObjectInStoreError:
                continue
        elif step == "delete":
            store.delete(identity)
        else:
            store.keep_only([identity])
    for identity in store.preregister(RUN, truth(5)):
        store.put(identity, next(content for content in contents if name(content) == identity))
    assert store.parts_of(name(contents[5])) == {name(content): content for content in contents}
    assert store.get_object_tree(name(contents[5])) == truth(5)
