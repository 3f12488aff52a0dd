"""Which of several models or options answers whom, what came of it, and when to stop."""
