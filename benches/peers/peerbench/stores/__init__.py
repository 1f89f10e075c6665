"""The peers, a module each."""
