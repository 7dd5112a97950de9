"""Does it give away the rows it was trained on?"""
