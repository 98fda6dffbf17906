"""The durable outbox of records and their delivery, acknowledged after commit."""
