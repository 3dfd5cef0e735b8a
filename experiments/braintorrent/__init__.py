"""Studies of federations without a server: BrainTorrent against FedAvg and pooled training, and who breaks it."""
