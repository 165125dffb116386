"""One phase of tuning: a tuner and rollouts take turns on every task, and what they find is judged on fresh episodes."""
