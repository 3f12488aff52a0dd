"""Conversations: what somebody says is understood, answered by a policy over real items, and handed to a person when that is better."""
