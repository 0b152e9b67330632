"""What trains right under which trainer, in which world, by which rule: measured, not claimed."""
