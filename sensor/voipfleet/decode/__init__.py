"""From blocks to columns and messages: link layer, IP, UDP, SIP, SDP, RTP. No I/O."""
