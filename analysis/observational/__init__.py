"""What did a price change do that was not randomised? Panel estimators and their errors."""
