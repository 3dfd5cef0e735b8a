"""Who takes part: client strategies and the Flower ClientApp that runs one."""
