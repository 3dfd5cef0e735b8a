"""The paper's figures and claims as study files, and what its released code does in places instead."""
