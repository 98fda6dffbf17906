"""What only an instance that stores records needs: the database and the ingest."""
