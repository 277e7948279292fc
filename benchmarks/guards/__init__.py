"""What guards find of what they should, what they find beside it, and what they cost."""
