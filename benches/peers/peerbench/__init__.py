"""Runs the same work on rustling-db and its peers: data, drivers, checks, report."""
