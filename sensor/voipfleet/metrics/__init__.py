"""What an instance counts: the laws that its counters keep, their totals over restarts, and their exposition."""
