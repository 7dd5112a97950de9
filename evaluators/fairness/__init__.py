"""Does it treat groups as the real data does, and are all of them there?"""
