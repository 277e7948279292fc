"""What it costs to look ahead, and what comes of it on a real cluster."""
