"""What the scripts `run` and `growth` share: starting servers, driving them, and tables."""
