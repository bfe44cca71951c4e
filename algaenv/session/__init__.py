"""The use cases, and what they are asked by and need."""

from algaenv.session.protocols import House, Recorded, Request, Session
from algaenv.session.use_cases import Steward

__all__ = ["House", "Recorded", "Request", "Session", "Steward"]
