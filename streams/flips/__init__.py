"""From a tick to decided flips: what is due, draws, price limits, triggers, guardrails."""
