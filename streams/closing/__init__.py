"""All that ends a day: the watermark, panel rows, unsold units, sealed days."""
