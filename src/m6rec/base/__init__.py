"""What every room may lean on: errors, strict configuration, plug-in discovery, optional extras, contracts. No torch, no polars."""
