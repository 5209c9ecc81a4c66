"""Forecasts of a build's input, time and size before it runs."""
