"""How sure is a panel estimate? Placebos, jackknife, bootstrap, conditional variances, each refused where invalid."""
