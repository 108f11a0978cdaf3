"""The registry book as plain values and plain functions: decide, evolve, told, due."""
