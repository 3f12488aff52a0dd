"""What the logs say before anything is trained: funnels, sessions, drift, cold shares, delays, concentration, suspicious users."""
