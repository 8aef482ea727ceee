"""Screens and terminals: what lies behind vncproxy, termproxy and the websocket that leads to them."""
