"""What may be shown: blocked items and words, audiences, caps, and slates put together from scored candidates."""
