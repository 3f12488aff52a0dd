"""Other people's recommenders, in environments of their own, on the same cases as ours.

roster says who and how, environment makes the virtual environments, exchange is what they may know, running trains one, cache keeps what came out.
"""
