"""The use cases, and what they are asked by and need."""

from algaenv.app import Application
from algaenv.dependencies import Dependencies, Request, SavedState, UseCases

__all__ = ["House", "Recorded", "Request", "Session", "Steward"]
