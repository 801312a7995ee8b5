"""What an analyst takes home: experiments, estimates, sequences, panel and checks as tables, and as Parquet."""
