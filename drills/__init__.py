"""Drills: whole receivers under faults, each with a seed, a bound in time, figures and a verdict."""
