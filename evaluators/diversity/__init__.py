"""Does it show all that the real data shows?"""
