"""What registration checks: definitions, prices, designs, blackouts."""
