"""Tests of the collection, and the servers they run against."""
