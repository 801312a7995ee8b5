"""The analysis learns: panels, estimators and inference, and one worker that publishes running estimates."""
