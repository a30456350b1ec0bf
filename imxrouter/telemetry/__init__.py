"""What the router tells about itself: metrics, log lines, message traces, reactor tick. Never bodies."""
