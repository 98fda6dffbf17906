"""From messages and RTP columns to call records: dialogs, streams, quality. No I/O."""
