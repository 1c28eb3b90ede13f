"""What customers want."""
