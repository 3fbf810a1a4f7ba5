"""What each kind of job does: reads its request, calls one room, writes the result where it belongs."""
