"""Does it train a model as the real data does?"""
