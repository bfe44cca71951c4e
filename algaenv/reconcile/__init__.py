"""The choreography: settle the unknowns, look, plan, walk the plan, ask until it answers.

It imports no SDK; the world is reached through the protocols in `algaenv.reconcile.protocols`.
"""
