"""The citizens' book as plain values and plain functions: decide, evolve, due."""
