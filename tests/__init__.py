"""Tests, laid out as the package is, plus contract/ and scenario/."""
