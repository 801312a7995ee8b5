"""What is a cell, and does it count? From topics and files to panels."""
