"""Scheduling rules as pure functions: eligibility, order, capacity, placement, explanations."""
