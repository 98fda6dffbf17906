"""What is masked in records and in packets that are kept: secrets of SIP messages, digits, numbers. No I/O."""
