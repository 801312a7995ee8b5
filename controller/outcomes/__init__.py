"""What a sale becomes: unit-days, silent feeds, unsold units, listings."""
