"""A federation without a server that neither malicious clients nor malicious aggregators can mislead.

After Franzese et al. 2023, "Robust and Actively Secure Serverless Collaborative Learning" (arXiv 2310.16678). In
layers: field arithmetic, sharing, checks on shares, agreement, protocol, transport.
"""
