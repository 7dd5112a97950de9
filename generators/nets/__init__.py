"""Networks that several generators share."""
