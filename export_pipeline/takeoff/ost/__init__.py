"""On-Screen Takeoff XML: writer, reader and validator."""
