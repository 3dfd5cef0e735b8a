"""What every party shares: the experiment description, data, models, local training, privacy, seeds."""
