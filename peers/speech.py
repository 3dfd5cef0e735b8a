"""What listening and dialling peers have in common: names, limits and settings of their gRPC."""

import os

os.environ.setdefault("GRPC_VERBOSITY", "NONE")  # or whoever sends nonsense writes on this terminal

ASK, GREET, ACCOUNT = "/psreval.Peers/Ask", "/psreval.Peers/Greet", "/psreval.Peers/Account"
"""Methods: a question of ``peers.wire``; a greeting of ``peers.membership``; and what a peer tells of its turns in the
end. The answers to the first and the last come in pieces."""
LETTERS = "/psreval.Peers/Letters"
"""Method of the secure protocol: what a peer has for the asker, exchange by exchange (``peers.secure.mailbox``); where
peers speak another protocol, nobody answers it."""
INSTANCE = "psreval-instance"
"""Metadata of every question and every answer: which process of an identity speaks."""
PIECE = 2**18
"""Bytes of one piece of an answer."""


def settings(most: int) -> list[tuple[str, int]]:
    """Return gRPC's settings on either side; ``most`` bytes may a received message have.

    gRPC refuses a longer message when it has read the five bytes that announce its length, and whatever is compressed
    before it is unpacked. A connection that says nothing for 20 seconds, not even to gRPC's own pings, is closed.
    """
    return [
        ("grpc.max_receive_message_length", most),
        ("grpc.max_send_message_length", -1),
        ("grpc.max_metadata_size", 8_192),
        ("grpc.absolute_max_metadata_size", 8_192),
        ("grpc.max_concurrent_streams", 64),
        ("grpc.compression_enabled_algorithms_bitset", 1),
        ("grpc.per_message_decompression", 0),
        ("grpc.keepalive_time_ms", 10_000),
        ("grpc.keepalive_timeout_ms", 10_000),
        ("grpc.keepalive_permit_without_calls", 1),
        ("grpc.http2.max_pings_without_data", 0),
        ("grpc.http2.min_ping_interval_without_data_ms", 5_000),
        ("grpc.http2.max_ping_strikes", 0),
        ("grpc.enable_http_proxy", 0),
        ("grpc.enable_retries", 0),
        ("grpc.so_reuseport", 0),
        ("grpc.initial_reconnect_backoff_ms", 100),
        ("grpc.min_reconnect_backoff_ms", 5_000),  # how long an attempt may take, too
        ("grpc.max_reconnect_backoff_ms", 500),
    ]
