"""The only list of concrete classes: what a running sidecar is made of."""
