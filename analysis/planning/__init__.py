"""Which design to run: every design that the owner's constraints allow, rehearsed on the owner's own history."""
