"""The topology of a fleet: its rules, its plan and its picture. Standard library only; no I/O."""
