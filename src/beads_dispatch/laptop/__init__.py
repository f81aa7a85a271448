"""What stands in for BeadBoard and the agent service where there is no cluster."""
