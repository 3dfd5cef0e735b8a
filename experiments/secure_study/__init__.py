"""Studies of poisoners and cheating aggregators, protocol beside protocol."""
