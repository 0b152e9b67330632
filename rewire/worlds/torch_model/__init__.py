"""What the worlds of a torch model share: its layers, optimisers, activity and probes."""
