"""What may happen next: decisions, lifecycle, limits, guardrails, kill switches."""
