"""What only a stream needs: time, positions, release in order, drivers and views."""
