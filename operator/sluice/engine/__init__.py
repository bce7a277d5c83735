"""What runs reconciles: a keyed queue with workers, back-off and wake-ups, and the clock. It knows no kind and no API."""
