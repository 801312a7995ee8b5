"""A history that resembles a shop's without a row of it: taken apart, drawn anew, compared."""
