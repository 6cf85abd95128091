"""The admin listener: health, readiness and metrics, for those who run the receiver."""
