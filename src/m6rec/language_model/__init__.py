"""The generative language model: token ids, slots and special ids in, states and logits out. It knows no users, items or words.

Lower layers read each segment alone (cacheable for ever), attention pooling sums a segment up, upper layers read a row of
slots causally, a tied head writes. Imports nothing but base.
"""
